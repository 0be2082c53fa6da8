"""`explain` on runs with their own encoder: the way of the gradient, the files, and what is refused."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from actloc import experiment
from actloc.runs.explaining import explain_detection
from actloc.runs.trained import load_trained
from tests.end_to_end.test_adapters_run import ADATAD
from tests.end_to_end.test_dualformer_run import TOY
from tests.end_to_end.test_trained_encoder import E2E
from tests.toy import TEST_VIDEOS, actloc, copy_toy

VIDEO = f"videos/{TEST_VIDEOS[0]}.mp4"
NOTHING_FOUND = ("--set", "suppression.method=hard", "--set", "suppression.min_score=2")
OVERLAPPING = E2E.replace("short_side: 32, crop: 32", "short_side: 48, crop: 48").replace(
    "clip_frames: 2", "clip_frames: 4"
)


def trained_on(toy: Path, folder: Path, config: str) -> Path:
    copied = copy_toy(toy, folder)
    (copied / "toy.yaml").write_text(config)
    for command in ("prepare", "train"):
        done = actloc(copied, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    return copied


@pytest.fixture(scope="module")
def dualformer(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_on(toy, tmp_path_factory.mktemp("dualformer") / "toy", TOY)


@pytest.fixture(scope="module")
def overlapping(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clips overlap by half."""
    return trained_on(toy, tmp_path_factory.mktemp("overlapping") / "toy", OVERLAPPING)


def by_hand(folder: Path, label: str, at: tuple[float, float]) -> tuple[list[int], Tensor]:
    """The frames of the video and their maps (N, H, W), by the definition, in one pass over all clips."""
    loaded = experiment.load("ckpt/toy")
    trained = load_trained(loaded)
    live = trained.live
    assert live is not None
    try:
        (sample,) = loaded.features.of_file(folder / VIDEO, live).evaluation_samples(0)
        clips = torch.from_numpy(sample.payload.frames(live.reader, list(sample.payload.clips)))
    finally:
        live.close()
    encoder, detector, kept = live.encoder, trained.localizer.detector.eval(), []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows changes it in place

    hook = encoder.head.register_forward_hook(keep)
    features = sample.payload.rows(encoder.encode(clips))[None]
    hook.remove()
    steps = detector.padded_steps(features.shape[2])
    mask = torch.arange(steps)[None] < features.shape[2]
    outputs = detector(F.pad(features, (0, steps - features.shape[2])), mask)
    segment = sample.grid.steps(torch.tensor(at))
    score = detector.segment_score(outputs, segment, trained.classes.index(label))
    size = len(clips), clips.shape[1], -1, 2, 2
    activations = torch.cat(kept).reshape(size).detach()
    gradients = torch.cat(torch.autograd.grad(score, kept)).reshape(size)
    maps = (activations * gradients.mean((3, 4), keepdim=True)).sum(2).clamp(min=0)
    maps = F.interpolate(maps[:, None], clips.shape[1:4], mode="trilinear", align_corners=False)[:, 0]
    frames: dict[int, list[Tensor]] = {}
    for number, clip in enumerate(sample.payload.clips):
        for place, frame in enumerate(sample.payload.layout.frames_of(clip)):
            frames.setdefault(frame, []).append(maps[number, place])
    return list(frames), torch.stack([torch.stack(one).mean(0) for one in frames.values()])


@pytest.mark.parametrize("settings", ["replay", "direct", "direct features.checkpoint_blocks=true"])
def test_the_map_is_that_of_the_definition_whichever_way_the_gradient_takes(
    overlapping: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    monkeypatch.chdir(overlapping)
    at = (2.0, 3.5)
    frames, maps = by_hand(overlapping, "blue", at)
    loaded = experiment.load("ckpt/toy", f"features.route={settings}".split())
    found = explain_detection(loaded, Path(VIDEO), "blue", at, None, 8.0)
    assert found.layer == "head"
    (curve,) = found.curves
    np.testing.assert_allclose(curve.times_s, np.array(frames) / 8)
    sums = maps.sum((1, 2)).numpy()
    assert sums.max() > 0
    np.testing.assert_allclose(curve.values, sums, rtol=0, atol=1e-4 * sums.max())
    shown = [place for place, frame in enumerate(frames) if 1.25 <= frame / 8 <= 4.25]
    np.testing.assert_allclose(found.times_s, np.array(frames)[shown] / 8)
    drawn = maps[shown]
    expected = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    np.testing.assert_allclose(found.heat, expected, rtol=0, atol=1e-3)
    blue = found.pictures[(found.times_s > 2.2) & (found.times_s < 3.3)].mean((0, 1, 2))
    assert blue[2] > blue[0] + 50


def test_the_best_detection_is_drawn_and_written(dualformer: Path, tmp_path: Path) -> None:
    folder = copy_toy(dualformer, tmp_path / "toy")
    done = actloc(folder, "explain", "ckpt/toy", VIDEO)
    assert done.returncode == 0, done.stderr
    assert "Wrote explanations/v2.gif and explanations/v2.png" in done.stderr
    assert "The heat is highest at" in done.stdout
    with Image.open(folder / "explanations" / "v2.gif") as image:
        assert image.size == (64, 64)
        assert image.n_frames > 1
        assert np.asarray(image.convert("RGB")).std() > 0
    with Image.open(folder / "explanations" / "v2.png") as image:
        assert np.asarray(image).std() > 5


def test_a_segment_a_class_a_layer_and_a_file_are_chosen(dualformer: Path, tmp_path: Path) -> None:
    folder = copy_toy(dualformer, tmp_path / "toy")
    chosen = ("--at", "2", "3.5", "--label", "red", "--layer", "blocks.2.1", "--fps", "4", "--output", "out/why.mp4")
    done = actloc(folder, "explain", "ckpt/toy", VIDEO, *chosen, "--json", "--set", "machine.device=cpu")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["event"] == "explained"
    assert (told["label"], told["segment"], told["layer"]) == ("red", [2.0, 3.5], "blocks.2.1")
    assert told["score_name"] == "evidence"
    assert (told["path"], told["contact_sheet"]) == ("out/why.mp4", "out/why.png")
    with av.open(str(folder / "out" / "why.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (64, 64, 4.0)
        assert sum(1 for _ in container.decode(stream)) == 11  # 4 a second, from 1.25 s to the last one at 3.875 s


def test_without_a_class_the_one_that_speaks_most_for_the_segment_is_explained(
    dualformer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dualformer)
    loaded = experiment.load("ckpt/toy")
    found = {
        label: explain_detection(loaded, Path(VIDEO), label, (0.5, 1.5), None, 5.0) for label in ("red", "blue", None)
    }
    assert found[None].score == max(found["red"].score, found["blue"].score)
    assert found[None].label == max(("red", "blue"), key=lambda label: found[label].score)


@pytest.mark.parametrize(("adapters", "layer"), [("{}", "blocks.3"), ("{ladder: true}", "blocks.3.adapter")])
def test_an_encoder_that_mixes_clips_is_explained_too(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapters: str, layer: str
) -> None:
    folder = trained_on(toy, tmp_path / "toy", ADATAD.replace("adapters: {}", f"adapters: {adapters}"))
    monkeypatch.chdir(folder)
    found = explain_detection(experiment.load("ckpt/toy"), Path(VIDEO), None, (0.5, 1.5), None, 5.0)
    assert found.layer == layer
    assert not found.is_blank


@pytest.mark.parametrize(
    ("typed", "found", "todo"),
    [
        ((VIDEO, "--label", "rad"), "knows no class 'rad'. Did you mean red?", "Name one with --label"),
        ((VIDEO, "--label", "waving"), "Known: blue, red", "Name one with --label"),
        ((VIDEO, "--at", "3", "9"), "The segment from 3 s to 9 s is not in videos/v2.mp4, which lasts 4.00 s.", "--at"),
        ((VIDEO, "--at", "3", "2"), "The segment from 3 s to 2 s is not in", "such as: --at 0 4"),
        ((VIDEO, "--layer", "blocks.9"), "has no layer blocks.9.", "Leave --layer out for blocks.3.1"),
        ((VIDEO, "--output", "why.avi"), "why.avi has the suffix '.avi'.", "Write it to why.gif"),
        (("videos/v9.mp4",), "videos/v9.mp4 is not a file. Did you mean", "Check the path."),
        (("labels.csv",), "labels.csv: unreadable", "re-encode it"),
        ((VIDEO, *NOTHING_FOUND), "The run finds no action in videos/v2.mp4.", "--at 0 4"),
    ],
)
def test_what_does_not_exist_is_refused(dualformer: Path, typed: tuple[str, ...], found: str, todo: str) -> None:
    done = actloc(dualformer, "explain", "ckpt/toy", *typed)
    assert done.returncode == 2, done.stderr
    text = " ".join(done.stderr.split())
    assert found in text
    assert todo in text
    assert "Traceback" not in done.stderr
    assert not (dualformer / "explanations").exists()


def test_a_run_on_stored_features_is_refused_with_the_reason(trained: Path) -> None:
    done = actloc(trained, "explain", "ckpt/toy", VIDEO)
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert "ckpt/toy was trained on stored features: features.name=stored." in text
    assert "so that the gradient of a detection reaches the pictures" in text
    assert "Train one with features.name=encoded" in text


OWN = """
from typing import Literal
import torch
from torch import nn
from actloc.encoders.base import ClipEncoder, ResizedFrames

class Config(ResizedFrames):
    name: Literal["means"] = "means"
    short_side: int = 16
    def build(self):
        return Means(self).eval()

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
    def forward(self, x):
        return self.scale * x, x

class Means(ClipEncoder):
    channels = 3
    def __init__(self, config):
        super().__init__(config)
        self.both = Both()
    def encode(self, clips):
        return self.both(clips.float().mean((1, 2, 3)) / 255)[0][:, :, None]
"""


def test_an_encoder_of_the_users_own_without_a_map_is_told_what_it_needs(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    (folder / "means.py").write_text(OWN)
    encoder = "{name: efficientnet_lite0, short_side: 32, crop: 32, rate_factor: 0.01}"
    direct = E2E.replace(encoder, "{name: means}").replace("preset: etad", "preset: full")
    (folder / "toy.yaml").write_text(direct)
    for command in (("prepare", "toy.yaml"), ("train", "toy.yaml")):
        done = actloc(folder, *command, "--code", "means.py")
        assert done.returncode == 0, done.stderr
    done = actloc(folder, "explain", "ckpt/toy", VIDEO, "--at", "0.5", "1.5", "--code", "means.py")
    assert done.returncode == 2, done.stderr
    text = " ".join(done.stderr.split())
    assert "The layer both of the encoder means cannot be drawn: no gradient reaches it." in text
    assert "`as_maps` gives their maps" in text

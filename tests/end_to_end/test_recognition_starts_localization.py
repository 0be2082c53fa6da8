"""A recogniser is trained, written as its authors would, and starts the encoder of a detector."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import actloc as package
from actloc.errors import VideoError
from actloc.files import sha256_of_file
from actloc.store.store import FeatureStore
from tests.end_to_end.test_dualformer_run import ENCODER
from tests.toy import CONFIG, actloc, copy_toy

DATA = CONFIG[: CONFIG.index("features:")]
ENCODERS = {
    "tanet": ("{name: tanet, short_side: 40, crop: 32}", 8),
    "dualformer": (ENCODER.replace("rate_factor: 0.1, ", ""), 4),
}
RECOGNITION = (
    "task: {name: recognition}\n"
    + DATA
    + """network: {start: random}
clips: {encoder: ENCODER, sampling: uniform, frames: FRAMES}
optimizer: {learning_rate: 1e-2, weight_decay: 0.01}
schedule: {epochs: 1, warmup_epochs: 0}
average: {decay: 0.5}
training: {batch_size: 4}
machine: {device: cpu, decoders: 1}
"""
)


def of_encoder(*files: Path) -> dict[str, Tensor]:
    """The encoder's weights and statistics in files of a run."""
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {name: tensor for name, tensor in tensors.items() if name.startswith("encoder/")}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoder_of_a_detector_starts_with_the_weights_of_a_recogniser(
    toy: Path, tmp_path: Path, name: str
) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    encoder, frames = ENCODERS[name]
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", str(frames)))
    chosen = f"features.encoder={encoder[:-1]}, weights: trained.pth}}"
    clips = (f"features.clip_frames={frames}", f"features.stride_frames={frames}", chosen)
    encoded = DATA + f"features: {{name: encoded, preset: frozen, encoder: {encoder}, fps: 8, clip_frames: 2, "
    encoded += "stride_frames: 2, max_steps: 32}\n" + CONFIG[CONFIG.index("detector:") :]
    (folder / "encoded.yaml").write_text(encoded)
    for command in (
        ("prepare", "names.yaml"),
        ("train", "names.yaml"),
        ("convert", "ckpt/names", "trained.pth"),
        ("extract-features", "toy.yaml", *clips),
        ("train", "toy.yaml", *clips, "run.name=stored"),
        ("train", "encoded.yaml", *clips),
    ):
        done = actloc(folder, *command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    (checkpoint,) = (folder / "ckpt/names").glob("ckpt_*")
    frozen = folder / "ckpt/names/frozen.safetensors"
    of_recognizer = of_encoder(checkpoint / "averaged.safetensors", *([frozen] if frozen.is_file() else []))
    of_detector = of_encoder(folder / "ckpt/encoded/frozen.safetensors")
    assert len(of_recognizer) > 50
    missing = of_recognizer.keys() - of_detector.keys()
    assert not missing
    assert all(torch.equal(of_detector[key], tensor) for key, tensor in of_recognizer.items())
    drawn = of_encoder(checkpoint / "weights.safetensors")
    assert any(not torch.equal(of_detector[key], tensor) for key, tensor in drawn.items())  # averaged ones are written
    sha256 = sha256_of_file(folder / "trained.pth")
    assert FeatureStore(folder / "features").info("v0").weights_sha256 == sha256


def test_a_recogniser_is_resumed_with_the_weights_that_it_started_with(toy: Path, tmp_path: Path) -> None:
    """The stages that do not learn are those of the file, and stay in the run if another one is refused."""
    folder = copy_toy(toy, tmp_path / "toy")
    encoder, frames = ENCODERS["dualformer"]
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", str(frames)))
    for command in (("prepare", "names.yaml"), ("train", "names.yaml"), ("convert", "ckpt/names", "first.pth")):
        assert actloc(folder, *command).returncode == 0
    chosen = torch.load(folder / "first.pth", weights_only=True)
    chosen["state_dict"]["backbone.patch_embeds.0.proj.weight"] += 1
    torch.save(chosen, folder / "second.pth")
    part = f"clips.encoder={encoder[:-1]}, weights: WEIGHTS, trainable: {{from_stage: 2}}}}"
    settings = ("names.yaml", "network.start=file", "run.name=part", "schedule.epochs=3")
    first, second = (part.replace("WEIGHTS", name) for name in ("first.pth", "second.pth"))
    assert actloc(folder, "train", *settings, first, ACTLOC_FAULT="step:2:kill").returncode != 0
    frozen = folder / "ckpt/part/frozen.safetensors"
    before = frozen.read_bytes()
    refused = actloc(folder, "train", *settings, second)
    assert refused.returncode == 2
    assert "The weights that clips.encoder starts from have changed" in refused.stderr
    assert frozen.read_bytes() == before
    done = actloc(folder, "train", *settings, first)
    assert done.returncode == 0, done.stderr
    assert frozen.read_bytes() == before
    assert actloc(folder, "eval", "ckpt/part").returncode == 0


def test_a_recognition_run_predicts_from_python(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    encoder, frames = ENCODERS["dualformer"]
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", str(frames)))
    settings = ("names.yaml", "evaluation.average=logits")
    for command in (("prepare", *settings), ("train", *settings), ("predict", "ckpt/names", "videos/v2.mp4", "--json")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    (event,) = [json.loads(line) for line in done.stdout.splitlines() if '"video_done"' in line]
    monkeypatch.chdir(folder)
    with closing(package.load("ckpt/names")) as predictor:
        found = predictor.predict("videos/v2.mp4")
        with pytest.raises(VideoError):
            predictor.predict("labels.csv")
        assert predictor.predict("videos/v2.mp4") == found
    assert {one.label for one in found} == {"red", "blue"}
    assert sum(one.score for one in found) == pytest.approx(1)
    assert found[0].score >= found[1].score
    assert (event["label"], event["probability"]) == (found[0].label, pytest.approx(found[0].score, rel=1e-5))


def test_a_run_starts_from_a_recognition_run_by_name(toy: Path, tmp_path: Path) -> None:
    """Another recogniser with other classes takes all but their entries, and a detector takes the encoder."""
    folder = copy_toy(toy, tmp_path / "toy")
    encoder, frames = ENCODERS["dualformer"]
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", str(frames)))
    encoded = DATA + f"features: {{name: encoded, preset: frozen, encoder: {encoder}, fps: 8, "
    encoded += f"clip_frames: {frames}, stride_frames: {frames}, max_steps: 32}}\n"
    (folder / "encoded.yaml").write_text(encoded + CONFIG[CONFIG.index("detector:") :])
    start, still = "training.initialise=ckpt/names", ("optimizer.learning_rate=1e-30", "optimizer.weight_decay=0")
    for command in (("prepare", "names.yaml"), ("train", "names.yaml")):
        assert actloc(folder, *command).returncode == 0
    labels = folder / "labels.csv"
    before = labels.read_text()
    labels.write_text(before.replace("blue", "violet"))
    other = ("dataset.folder=other", "run.name=other", start, *still)
    printed = {}
    for command in (
        ("prepare", "names.yaml", *other),
        ("train", "names.yaml", *other),
        ("train", "encoded.yaml", start),
    ):
        if command[1] == "encoded.yaml":
            labels.write_text(before)  # as they were when its folder was prepared
        done = actloc(folder, *command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed[command[1]] = " ".join(done.stderr.split())
    assert "Of 2 tensors the entries of red taken: classifier/weight, classifier/bias" in printed["names.yaml"]
    (first,), (second,) = ((folder / f"ckpt/{name}").glob("ckpt_*/averaged.safetensors") for name in ("names", "other"))
    before, after = load_file(first), load_file(second)
    torch.testing.assert_close(after["classifier/weight"][0], before["classifier/weight"][1])  # blue, red: red, violet
    assert "Left: 2 tensors that no network here has: classifier/" in printed["encoded.yaml"]
    frozen = of_encoder(folder / "ckpt/encoded/frozen.safetensors")
    assert all(torch.equal(frozen[key], tensor) for key, tensor in of_encoder(first).items())
    # a resumed run keeps those that do not learn, though the settings' own encoder starts with others
    kept = (folder / "ckpt/encoded/frozen.safetensors").read_bytes()
    (folder / "ckpt/encoded/finished.json").unlink()
    done = actloc(folder, "train", "encoded.yaml", start)
    assert done.returncode == 0, done.stderr
    assert (folder / "ckpt/encoded/frozen.safetensors").read_bytes() == kept

from contextlib import closing
from pathlib import Path

import pytest
import torch

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import convert
from actloc.errors import UserError
from actloc.experiment import load
from actloc.runs import conversion
from actloc.runs.record import is_finished
from actloc.runs.trained import load_official, load_trained
from actloc.training import checkpoint as checkpoints
from actloc.weights.official_actionformer import read_official_checkpoint
from tests.golden.cases import GOLDEN

OFFICIAL = GOLDEN / "e2e" / "tiny_epoch_140.pth.tar"
SETTINGS = """\
dataset: {name: custom, folder: prepared, videos: videos, annotations: labels.csv}
features: {name: stored, path: features, fps: 30, clip_frames: 16, stride_frames: 4, max_steps: 320}
detector:
  name: actionformer
  dim: 16
  windows: 9
  num_stem_blocks: 1
  num_branch_blocks: 3
  regression_ranges: [[0, 4], [4, 8], [8, 16], [16, 10000]]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with settings and annotations of three classes."""
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text(SETTINGS)
    labels = ("fall", "jump", "run")
    videos = {f"v{label}": AnnotatedVideo(f"v{label}", "train", (Action(0, 1, label),), 5.0) for label in labels}
    annotation_form.write(load("settings.yaml").dataset.annotations_file, Annotations(labels, videos))
    return tmp_path


def test_an_official_checkpoint_is_converted_to_a_run_and_back_without_a_change() -> None:
    run, file = Path("ckpt/official"), Path("again.pth.tar")
    assert convert.run(OFFICIAL, run, "settings.yaml", None) == 0
    stored, official = checkpoints.load(checkpoints.last(run)), read_official_checkpoint(OFFICIAL)
    assert stored.numbers["about"]["classes"] == ["fall", "jump", "run"]
    assert stored.numbers["about"]["in_channels"] == 16
    assert is_finished(run)
    assert load(str(run)).detector == load("settings.yaml").detector
    assert convert.run(run, file, "settings.yaml", None) == 0
    again = read_official_checkpoint(file)
    assert again.epoch == 140
    for first, second in ((official.weights, again.weights), (official.averaged, again.averaged)):
        assert sorted(first) == sorted(second)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_that_does_not_fit_the_settings_writes_nothing() -> None:
    with pytest.raises(UserError, match=r"branch\.3\.ln1\.weight is missing"):
        convert.run(
            OFFICIAL,
            Path("ckpt/official"),
            "settings.yaml",
            ["detector.num_branch_blocks=4", "detector.regression_ranges=[[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]"],
        )
    assert not Path("ckpt").exists()


def test_an_official_checkpoint_without_settings_is_refused() -> None:
    with pytest.raises(UserError, match="needs a CONFIG"):
        convert.run(OFFICIAL, Path("ckpt/official"), None, None)


def test_existing_files_are_never_replaced() -> None:
    Path("run").mkdir()
    Path("run/file").write_text("mine")
    with pytest.raises(UserError, match="run already exists"):
        conversion.to_run(OFFICIAL, Path("run"), load("settings.yaml"))
    conversion.to_run(OFFICIAL, Path("other"), load("settings.yaml"))
    with pytest.raises(UserError, match="run/file already exists"):
        conversion.to_official(Path("other"), Path("run/file"), None)
    assert Path("run/file").read_text() == "mine"


def test_a_run_of_another_detector_cannot_be_converted() -> None:
    numbers = {"about": {"settings": {"detector.name": "mine"}}}
    checkpoint = checkpoints.save(Path("run"), checkpoints.Checkpoint(3, {}, {}, {}, numbers))
    with pytest.raises(UserError, match=r"the detector mine"):
        conversion.to_official(checkpoint, Path("official.pth.tar"), None)
    assert not Path("official.pth.tar").exists()


def test_a_run_that_does_not_fit_the_given_settings_is_refused() -> None:
    conversion.to_run(OFFICIAL, Path("run"), load("settings.yaml"))
    with pytest.raises(UserError, match="the settings make it"):
        convert.run(Path("run"), Path("official.pth.tar"), "settings.yaml", ["detector.dim=32"])


TALLFORMER = """\
dataset: {name: custom, folder: prepared, videos: videos, annotations: labels.csv}
features: {name: encoded, preset: full, encoder: {name: efficientnet_lite0, short_side: 64, crop: 64}, fps: 8,
  clip_frames: 2, stride_frames: 2, max_steps: 32, window_steps: 32}
detector: {name: tallformer, dim: 16, consistency_layers: 1, windows: [5, 3], num_heads: 2, head_dim: 8}
"""


@pytest.fixture
def tallformer_file(folder: Path) -> Path:
    """An official file of a small TALLFormer with its encoder."""
    Path("tallformer.yaml").write_text(TALLFORMER)
    experiment = load("tallformer.yaml")
    torch.manual_seed(0)
    detector = experiment.detector.build(1280, 3, 32)
    encoder = experiment.features.encoder.network()
    state = {name.replace(".in_proj.", ".in_proj_"): tensor for name, tensor in detector.state_dict().items()}
    state |= {f"backbone.{name}": tensor + 0.5 for name, tensor in encoder.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, "epoch_9.pth")
    return Path("epoch_9.pth")


@pytest.mark.parametrize("is_converted", [False, True])
def test_a_file_of_tallformer_gives_detector_and_encoder_their_weights(
    tallformer_file: Path, is_converted: bool
) -> None:
    content = torch.load(tallformer_file, weights_only=True)["state_dict"]
    if is_converted:
        assert convert.run(tallformer_file, Path("ckpt/official"), "tallformer.yaml", None) == 0
        trained = load_trained(load("ckpt/official"))
    else:
        trained = load_official(load("tallformer.yaml"), tallformer_file, ("fall", "jump", "run"))
    with closing(trained):
        assert trained.in_channels == 1280
        assert trained.live is not None
        weights = trained.localizer.detector.state_dict()
        assert torch.equal(weights["head.retina_cls.weight"], content["head.retina_cls.weight"])
        attention = "neck.2.trans_layers.0.self_attn.in_proj"
        assert torch.equal(weights[f"{attention}.weight"], content[f"{attention}_weight"])
        for name, tensor in trained.live.encoder.state_dict().items():
            assert torch.equal(tensor, content[f"backbone.{name}"])


def test_the_encoder_of_a_file_must_fit_and_be_there_for_a_run_that_trains_one(tallformer_file: Path) -> None:
    content = torch.load(tallformer_file, weights_only=True)["state_dict"]
    name = next(name for name in content if name.startswith("backbone."))
    torch.save({"state_dict": {key: one for key, one in content.items() if key != name}}, "partly.pth")
    with pytest.raises(UserError, match=f"{name.removeprefix('backbone.')} is missing"):
        conversion.to_run(Path("partly.pth"), Path("ckpt/partly"), load("tallformer.yaml"))
    torch.save({key: one for key, one in content.items() if not key.startswith("backbone.")}, "alone.pth")
    with pytest.raises(UserError, match="has weights of a detector only"):
        conversion.to_run(Path("alone.pth"), Path("ckpt/alone"), load("tallformer.yaml"))


def test_stored_features_leave_the_encoder_of_a_file_out(
    tallformer_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = "features={name: stored, path: features, fps: 8, clip_frames: 2, stride_frames: 2, max_steps: 32}"
    run = Path("ckpt/stored")
    conversion.to_run(tallformer_file, run, load("tallformer.yaml", [stored]))
    assert "The encoder in epoch_9.pth is not used" in capsys.readouterr().err
    assert all(name.startswith("detector/") for name in checkpoints.load(checkpoints.last(run)).weights)
    with pytest.raises(UserError, match="Expected actionformer"):
        conversion.to_official(checkpoints.last(run), Path("again.pth"), None)

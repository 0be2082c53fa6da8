"""A tiny V-JEPA 2 and a tiny DINOv3 from local folders, through the commands: stored, and trained with the detector."""

import json
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file

from actloc.end_to_end.presets import FOR_ANY_ENCODER, PRESETS
from tests import torchless
from tests.encoders import tiny_models
from tests.end_to_end.test_recognition_starts_localization import RECOGNITION
from tests.toy import CONFIG, TEST_VIDEOS, actloc, copy_toy, digests

BEFORE, _, AFTER = CONFIG.partition("features:")
AFTER = AFTER[AFTER.index("detector:") :]
MODELS = {"vjepa2": "clip_frames: 4\n  stride_frames: 4", "dinov3": "clip_frames: 1\n  stride_frames: 2"}


def settings(kind: str, source: str, more: str = "") -> str:
    return (
        f"{BEFORE}features:\n  name: {source}\n  encoder: {{name: huggingface, model: {kind}}}\n  fps: 8\n"
        f"  {MODELS[kind]}\n  max_steps: 32\n{more}{AFTER}"
    )


@pytest.fixture(scope="module")
def folder(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(toy, tmp_path_factory.mktemp("huggingface") / "toy")
    for kind in MODELS:
        tiny_models.write(folder / kind, kind)
        (folder / f"{kind}.yaml").write_text(settings(kind, "stored", f"  path: features_{kind}\n"))
        (folder / f"{kind}_live.yaml").write_text(settings(kind, "encoded", "  preset: full\n"))
    done = actloc(folder, "prepare", "vjepa2.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_stored_features_train_a_detector_and_a_changed_model_makes_them_anew(kind: str, folder: Path) -> None:
    for command, target in (
        ("extract-features", f"{kind}.yaml"),
        ("train", f"{kind}.yaml"),
        ("eval", f"ckpt/{kind}"),
        ("report", f"ckpt/{kind}"),
    ):
        done = actloc(folder, command, target)
        assert done.returncode == 0, done.stderr
    video = f"videos/{TEST_VIDEOS[0]}.mp4"
    done = actloc(folder, "predict", f"ckpt/{kind}", video, "--output", f"predictions_{kind}")
    assert done.returncode == 0, done.stderr
    before = digests(folder / f"features_{kind}")
    (folder / kind).rename(folder / f"{kind}_moved")
    again = actloc(folder, "extract-features", f"{kind}.yaml", f"features.encoder.model={kind}_moved")
    assert again.returncode == 0, again.stderr
    assert digests(folder / f"features_{kind}") == before
    tiny_models.write(folder / kind, kind, seed=1)
    changed = actloc(folder, "extract-features", f"{kind}.yaml")
    assert changed.returncode == 2, changed.stderr
    assert "weights" in changed.stderr
    anew = actloc(folder, "extract-features", f"{kind}.yaml", "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert all(digests(folder / f"features_{kind}")[name] != one for name, one in before.items())
    with h5py.File(next((folder / f"features_{kind}").glob("*.h5"))) as file:
        assert file.attrs["weights_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", FOR_ANY_ENCODER)
def test_it_learns_with_the_detector(preset: str, folder: Path) -> None:
    """Every preset that its kind allows: half of them with the model of clips, half with that of pictures."""
    kind = list(MODELS)[FOR_ANY_ENCODER.index(preset) % 2]
    name, file = f"{kind}_{preset}", f"{kind}_live.yaml"
    overrides = [f"features.preset={preset}", f"run.name={name}"]
    if PRESETS[preset].get("others") == "bank":
        overrides.append(f"features.bank=bank_{kind}")
        done = actloc(folder, "extract-features", file, *overrides)
        assert done.returncode == 0, done.stderr
    done = actloc(folder, "train", file, *overrides)
    assert done.returncode == 0, done.stderr
    for command in ("eval",) if preset != "full" else ("eval", "extract-features"):
        done = actloc(folder, command, f"ckpt/{name}")
        assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "ckpt" / name / "eval/test/metrics.json").read_text())
    assert metrics["task"] == "localization"


@pytest.mark.slow
def test_a_model_with_a_classifier_names_clips_by_its_own_class_names(folder: Path) -> None:
    model = tiny_models.write(folder / "names", "videomae_classifier")
    config = json.loads((folder / "names/config.json").read_text())
    config["id2label"] = {"0": "red", "1": "none", "2": "blue"}
    (folder / "names/config.json").write_text(json.dumps(config))
    encoder = "{name: huggingface, model: names}"
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", "4"))
    done = actloc(folder, "convert", "names/model.safetensors", "ckpt/names", "names.yaml")
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "eval", "ckpt/names", "--save-scores", "scores.json")
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "ckpt/names").glob("ckpt_*/averaged.safetensors")
    rows = load_file(file)["classifier/weight"]
    assert torch.equal(rows, model.classifier.weight[[2, 0]])  # blue, red: the order of the annotations
    done = actloc(folder, "predict", "ckpt/names", f"videos/{TEST_VIDEOS[0]}.mp4", "--output", "named")
    assert done.returncode == 0, done.stderr
    scores, predicted = (json.loads((folder / path).read_text()) for path in ("scores.json", "named/class_scores.json"))
    assert predicted["classes"] == ["blue", "red"]
    assert sum(predicted["results"][TEST_VIDEOS[0]]) == pytest.approx(1)
    assert len(scores["results"]) > 0
    config["id2label"]["2"] = "green"
    (folder / "names/config.json").write_text(json.dumps(config))
    done = actloc(folder, "convert", "names/model.safetensors", "ckpt/other", "names.yaml")
    assert done.returncode == 2
    assert "no class named blue" in done.stderr


def test_adapters_are_refused(folder: Path) -> None:
    done = actloc(folder, "train", "vjepa2_live.yaml", "features.preset=adatad")
    assert done.returncode == 2
    assert "has none" in done.stderr


def test_settings_are_shown_and_checked_without_torch(folder: Path) -> None:
    cases = [
        (["show", "vjepa2.yaml", "features.encoder.poling=mean"], 2, "pooling"),
        (["show", "vjepa2.yaml", "features.encoder.pooling=cls"], 2, "expected one of mean"),
        (["show", "vjepa2.yaml", "features.clip_frames=3"], 2, "a multiple of 2"),
        (["show", "vjepa2.yaml"], 0, "# The encoder huggingface: a V-JEPA 2 of 24 channels, "),
        (["show", "dinov3_live.yaml"], 0, "# The encoder huggingface: a DINOv3 of 24 channels"),
        (["ls", "encoders"], 0, "huggingface"),
        (["extract-features", "vjepa2.yaml", "features.encoder.model=nowhere"], 2, "does not exist"),
    ]
    found = torchless.outcomes([(folder, arguments) for arguments, _, _ in cases])
    for (arguments, status, text), (got, output) in zip(cases, found, strict=True):
        assert got == status, (arguments, output)
        assert text in output, (arguments, output)

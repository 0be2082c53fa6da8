"""Model cards of runs: what the hub reads of them, what people read, and what they leave to their author."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.toy import actloc, copy_toy


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a detector that was scored, also at other temporal IoUs."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("scored") / "toy")
    for command in (("eval", "ckpt/toy"), ("eval", "ckpt/toy", "evaluation.tious=[0.5]")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


def parts_of(card: Path) -> tuple[dict[str, Any], str]:
    """The front matter and the text."""
    _, front, text = card.read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def check_index(index: Any) -> None:
    """The form of `model-index` in the hub's metadata: what it refuses to be without."""
    assert isinstance(index, list)
    for model in index:
        assert set(model) == {"name", "results"}
        for result in model["results"]:
            assert isinstance(result["task"]["type"], str)
            assert isinstance(result["dataset"]["name"], str)
            assert isinstance(result["dataset"]["type"], str)
            for metric in result["metrics"]:
                assert isinstance(metric["type"], str)
                assert isinstance(metric["value"], float)
                assert isinstance(metric["name"], str)


def test_the_card_of_a_detector_has_what_was_measured(scored: Path, tmp_path: Path) -> None:
    folder = copy_toy(scored, tmp_path / "toy")
    done = actloc(folder, "report", "ckpt/toy", "--card", "--license", "apache-2.0")
    assert done.returncode == 0, done.stderr
    (card,) = folder.glob("ckpt/toy/ckpt_*/README.md")
    assert f"Wrote ckpt/toy/{card.parent.name}/README.md" in done.stderr
    assert (card.parent / "averaged.safetensors").is_file()
    front, text = parts_of(card)
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "actloc"
    assert front["pipeline_tag"] == "video-classification"
    assert {"temporal-action-localization", "actionformer", "color"} <= set(front["tags"])
    assert "datasets" not in front  # the user's own data has no name on the hub
    check_index(front["model-index"])
    metrics = json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())
    own, other = front["model-index"][0]["results"]
    assert own["dataset"]["split"] == "test"
    assert own["dataset"]["args"] == {"annotations_sha256": metrics["annotations_sha256"]}
    assert other["dataset"]["args"]["evaluation.tious"] == [0.5]
    values = [one["value"] for one in own["metrics"]]
    assert values == pytest.approx([100 * one for one in [metrics["average_map"], *metrics["mean_ap"]]], abs=1e-3)
    assert f"| average mAP, tIoU 0.30 to 0.70 | {100 * metrics['average_map']:.2f} |" in text
    assert "| red | 2 |" in text
    assert "| test | 2 | 0.00 | 4 | 1.5 |" in text
    assert "The test set is small (2 videos with 4 actions)" in text
    assert "It never saw a longer one" in text
    assert "These weights: apache-2.0" in text
    assert "Licence of the data: not stated" in text
    assert "[config.yaml](../config.yaml)" in text
    assert "Seed: 0" in text
    assert "Command: actloc train toy.yaml" in text
    assert str(folder) not in text
    manifest = json.loads((card.parent / "manifest.json").read_text())
    assert manifest["averaged.safetensors"] in text
    again = actloc(folder, "predict", "ckpt/toy", "videos/v2.mp4", "prediction.threshold=0")
    assert again.returncode == 0, again.stderr  # the card is in nobody's way


def test_the_code_in_a_card_runs(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files that it names, and no others."""
    folder = copy_toy(scored, tmp_path / "toy")
    assert actloc(folder, "report", "ckpt/toy", "--card").returncode == 0
    (card,) = folder.glob("ckpt/toy/ckpt_*/README.md")
    _, text = parts_of(card)
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    (needed,) = re.findall(r"the folder of the run, with (.*)", text)
    assert code
    published = tmp_path / "published"
    for name in re.findall(r"`([^`]+)`", needed):
        source, target = folder / "ckpt/toy" / name, published / "ckpt/toy" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    shutil.copy(folder / "videos/v2.mp4", published / "new_video.mp4")
    monkeypatch.chdir(published)
    exec(compile(code[1], "card", "exec"), {"__name__": "card"})


def test_a_card_that_was_edited_is_kept(scored: Path, tmp_path: Path) -> None:
    folder = copy_toy(scored, tmp_path / "toy")
    first = actloc(folder, "report", "ckpt/toy", "--card")
    assert "The licence of the weights is not stated; to state it, add --license ID" in first.stderr
    assert actloc(folder, "report", "ckpt/toy", "--card").returncode == 0  # its own it replaces
    (card,) = folder.glob("ckpt/toy/ckpt_*/README.md")
    assert parts_of(card)[0]["license"] == "unknown"
    card.write_text(f"{card.read_text()}\nOurs.\n")
    refused = actloc(folder, "report", "ckpt/toy", "--card")
    assert refused.returncode == 2
    assert "is not as actloc wrote it" in refused.stderr
    assert card.read_text().endswith("Ours.\n")
    assert actloc(folder, "report", "ckpt/toy", "--card", "--overwrite").returncode == 0
    assert "Ours" not in card.read_text()


def test_a_run_that_was_not_scored_has_a_card_without_numbers(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    done = actloc(folder, "report", "ckpt/toy", "--card")
    assert done.returncode == 0, done.stderr
    (card,) = folder.glob("ckpt/toy/ckpt_*/README.md")
    front, text = parts_of(card)
    assert "model-index" not in front
    assert "Not measured." in text
    assert "It was not scored: how good it is, is not known." in text


def test_the_card_of_a_recogniser(recognizing: Path, tmp_path: Path) -> None:
    folder = copy_toy(recognizing, tmp_path / "toy")
    done = actloc(folder, "report", "ckpt/toy", "--card")
    assert done.returncode == 0, done.stderr
    (card,) = folder.glob("ckpt/toy/ckpt_*/README.md")
    front, text = parts_of(card)
    check_index(front["model-index"])
    (stored,) = folder.glob("ckpt/toy/eval/*/metrics.json")
    metrics = json.loads(stored.read_text())
    values = {one["name"]: one["value"] for one in front["model-index"][0]["results"][0]["metrics"]}
    assert values["top-1 accuracy (%)"] == pytest.approx(100 * metrics["top_1"], abs=1e-3)
    assert front["metrics"] == ["accuracy"]
    assert {"action-recognition", "dualformer"} <= set(front["tags"])
    assert "| green | 4 |" in text
    assert "Weights that the encoder dualformer started from: none, they were random" in text
    assert "for found in actloc.load('ckpt/toy').predict('new_video.mp4'):" in text


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--license", "mit"), "--license mit was given without --card"),
        (("--card", "--output", "cards"), "--output cards was given with --card"),
        (("--card", "--format", "latex"), "--format latex was given with --card"),
        (("--card", "--license", "all rights: mine"), "--license is 'all rights: mine'"),
    ],
)
def test_other_options_are_refused(scored: Path, arguments: tuple[str, ...], found: str) -> None:
    done = actloc(scored, "report", "ckpt/toy", *arguments)
    assert done.returncode == 2
    assert found in done.stderr


def test_results_without_weights_have_no_card(scored: Path, tmp_path: Path) -> None:
    folder = copy_toy(scored, tmp_path / "toy")
    predictions = "ckpt/toy/eval/test/predictions.json"
    assert actloc(folder, "eval", "toy.yaml", "--predictions", predictions, "--name", "theirs").returncode == 0
    done = actloc(folder, "report", "ckpt/theirs", "--card")
    assert done.returncode == 2
    assert "ckpt/theirs has no weights" in done.stderr

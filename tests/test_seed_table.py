"""The table of seeds and averages: which runs it trains, what it reads from them, and its means."""

import json
from pathlib import Path
from typing import Any

import pytest

from actloc.evaluation.results import Counts, Results
from actloc.evaluation.results_files import write_results
from scripts import seed_table

CONFIG = "configs/learnable_actionformer.yaml"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that would have run; a run's mAP at a tIoU is the tIoU itself, with raw weights it is half of it."""
    seen = []

    def actloc(*arguments: str) -> dict[str, Any]:
        seen.append(arguments)
        share = 0.5 if "evaluation.weights=raw" in arguments else 1.0
        results = {"tious": seed_table.TIOUS, "mean_ap": [share * tiou for tiou in seed_table.TIOUS]}
        (tmp_path / "metrics.json").write_text(json.dumps(results))
        return {"event": "done", "path": str(tmp_path / "metrics.json")}

    monkeypatch.setattr(seed_table, "actloc", actloc)
    return seen


def test_every_seed_trains_with_every_average_and_the_same_settings(commands: list[tuple[str, ...]]) -> None:
    seed_table.measure(CONFIG, ["run.name=half", "training.precision=bfloat16"])
    assert commands[0] == ("prepare", CONFIG, "run.name=half", "training.precision=bfloat16")
    trained = [command for command in commands if command[0] == "train"]
    assert {command[4:] for command in trained} == {
        (f"run.name=half_seed{seed}_{name}", f"run.seed={seed}", *average)
        for seed in (0, 1, 2)
        for name, average in seed_table.AVERAGES.items()
    }
    assert all(command[1:4] == commands[0][1:] for command in trained)
    scored = [command[1:3] for command in commands if command[0] == "eval"]
    assert scored.count(("ckpt/half_seed1_0.99", "evaluation.weights=averaged")) == 1
    assert sum("raw" in weights for _, weights in scored) == 3


@pytest.mark.usefixtures("commands")
def test_the_table_has_both_averages_of_every_kind_of_weights() -> None:
    lines = seed_table.table(seed_table.measure(CONFIG, [])).splitlines()
    assert lines[0] == "| weights | seed 0 | seed 1 | seed 2 | mean |"
    assert lines[2] == "| raw | 25.00 / 36.25 | 25.00 / 36.25 | 25.00 / 36.25 | 25.00 / 36.25 |"
    assert lines[3:] == [
        f"| {name} | 50.00 / 72.50 | 50.00 / 72.50 | 50.00 / 72.50 | 50.00 / 72.50 |" for name in seed_table.AVERAGES
    ]


def test_a_failing_command_ends_the_script_with_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        seed_table.actloc("eval", "no_such_run")
    assert ended.value.code == 2
    assert "no_such_run" in capfd.readouterr().err


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands of a comparison that would have run; average mAP is the seed in percent, and 50 more with an encoder
    that trains."""
    seen = []

    def actloc(*arguments: str) -> dict[str, Any]:
        seen.append(arguments)
        if arguments[0] != "eval":
            return {"event": "done"}
        name = Path(arguments[1]).name
        share = (int(name[-1]) + (50 if "bank" in name else 0)) / 100
        folder = tmp_path / name
        return {"event": "done", "path": str(write_results(folder, results_of(name, [share, share])))}

    monkeypatch.setattr(seed_table, "actloc", actloc)
    return seen


def results_of(name: str, mean_ap: list[float]) -> Results:
    facts = {"seed": 0, "checkpoint": "ckpt", "weights": "averaged", "commit": "abc", "machine": "two cores"}
    scored = {"tious": [0.5, 0.75], "mean_ap": mean_ap, "average_map": sum(mean_ap) / 2, "classes": [], "class_ap": []}
    counts = Counts(videos=16, truths=9, predictions=9)
    rest = {"truth_per_class": [], "thresholds": [], "counts": counts, "videos": [], "version": "1", "created": "now"}
    made = {"name": name, "dataset": "spliced_clips", "subset": "test", "protocol": "actionformer"}
    return Results.model_validate({**made, **facts, **scored, **rest})


PAIR = [f"configs/harder_efficientnet_{kind}.yaml" for kind in ("actionformer", "bank_actionformer")]


def test_compared_configs_train_as_they_are_seed_by_seed(compared: list[tuple[str, ...]]) -> None:
    seed_table.compare(PAIR, ["run.folder=runs"])
    trained = [command[1:] for command in compared if command[0] == "train"]
    assert trained == [
        (config, "run.folder=runs", f"run.name={Path(config).stem}_seed{seed}", f"run.seed={seed}")
        for seed in seed_table.SEEDS
        for config in PAIR
    ]
    assert [command[1] for command in compared if command[0] == "eval"] == [
        f"runs/{Path(config).stem}_seed{seed}" for seed in seed_table.SEEDS for config in PAIR
    ]


@pytest.mark.usefixtures("compared")
def test_the_comparison_has_a_row_for_each_config_and_how_it_was_measured() -> None:
    lines = seed_table.comparison(seed_table.compare(PAIR, [])).splitlines()
    assert lines[0] == "| config | seed 0 | seed 1 | seed 2 | mean |"
    assert lines[2] == "| `harder_efficientnet_actionformer` | 0.00 | 1.00 | 2.00 | 1.00 |"
    assert lines[3] == "| `harder_efficientnet_bank_actionformer` | 50.00 | 51.00 | 52.00 | 51.00 |"
    assert lines[5] == (
        "Average mAP in percent over tIoU 0.5, 0.75; protocol actionformer, 16 videos of spliced_clips test; "
        "commit abc; two cores; measured by this command."
    )


@pytest.mark.usefixtures("compared")
def test_configs_of_the_same_run_are_not_compared() -> None:
    with pytest.raises(SystemExit, match="twice"):
        seed_table.compare(PAIR, ["run.name=one"])


@pytest.mark.parametrize(
    ("words", "called"), [([CONFIG, "run.seed=1"], "measure"), ([*PAIR, "run.folder=runs"], "compare")]
)
def test_words_with_an_equals_sign_are_settings(
    words: list[str], called: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, show in (("measure", "table"), ("compare", "comparison")):
        monkeypatch.setattr(seed_table, name, lambda *arguments, name=name: (name, *arguments))
        monkeypatch.setattr(seed_table, show, str)
    monkeypatch.setattr("sys.argv", ["seed_table", *words])
    seed_table.main()
    configs = words[0] if called == "measure" else words[:-1]
    assert capsys.readouterr().out.strip() == str((called, configs, words[-1:]))


def test_settings_without_a_config_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["seed_table", "run.seed=1"])
    with pytest.raises(SystemExit) as ended:
        seed_table.main()
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("config", "extracts"),
    [(PAIR[0], True), (PAIR[1], True), ("sample_efficientnet_end_to_end_actionformer", False), (CONFIG, False)],
)
def test_features_are_made_for_training_on_them_and_for_a_bank(
    config: str, extracts: bool, commands: list[tuple[str, ...]]
) -> None:
    seed_table.prepared(config, ["run.seed=1"])
    made = [(command, config, "run.seed=1") for command in ("prepare", *(["extract-features"] if extracts else []))]
    assert commands == made

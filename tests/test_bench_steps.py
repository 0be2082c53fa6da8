"""`scripts/bench steps` on the toy: every preset is measured, also those that do not fit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from actloc.end_to_end.presets import FOR_ANY_ENCODER
from scripts.benchmarks import steps
from scripts.benchmarks.end_to_end import CONFIG, QUICK, SHORT, SWIN, VIT, WITH_ADAPTERS
from scripts.benchmarks.steps import Costs
from tests.end_to_end.test_trained_encoder import E2E
from tests.toy import ROOT, make_toy


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmarks.steps", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_preset_is_measured_on_windows_of_the_same_videos(tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "toy")
    (folder / "toy.yaml").write_text(E2E)
    done = bench(folder, "toy.yaml", "machine.device=cpu", "--steps", "1", "training.batch_size=2")
    assert done.returncode == 0, done.stderr
    table = json.loads((folder / "ckpt/bench_steps/table.json").read_text())
    rows = {row["preset"]: row for row in table["rows"]}
    assert list(rows) == list(FOR_ANY_ENCODER)
    assert all(name in done.stdout for name in rows)
    assert all(row["step_s"] > 0 and row["gpu_mb"] is None for row in rows.values())
    decoded = {name: row["frames_decoded"] for name, row in rows.items()}
    assert decoded["full"] == decoded["etad"] == decoded["frozen"] > 0
    assert decoded["bank_replay"] < decoded["full"]
    saved = {name: row["saved_mb"] for name, row in rows.items()}
    assert saved["frozen"] < saved["chunked"] < saved["full"]
    assert not list((folder / "ckpt/bench_steps").glob("*/ckpt_*")), "nothing is trained"


def test_wrong_presets_and_settings_are_errors_of_the_user(tmp_path: Path) -> None:
    for arguments in (("toy.yaml", "--presets", "tallfromer"), ("toy.yaml", "--steps", "0"), ("missing.yaml",)):
        done = bench(tmp_path, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_preset_that_does_not_fit_the_gpu_is_a_row_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(config: str, settings: dict[str, list[str]], num_steps: int) -> list[Costs]:
        if "full" in settings:
            raise torch.OutOfMemoryError
        return [Costs(preset, 0.5, 10.0, 96.0, 2_048.0) for preset in settings]

    monkeypatch.setattr(steps, "_in_turns", measured)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    rows = steps._alone("a.yaml", {"full": [], "bank_replay": []}, 1)
    assert rows == [Costs("full"), Costs("bank_replay", 0.5, 10.0, 96.0, 2_048.0)]
    steps.show("a.yaml", rows)
    printed = capsys.readouterr().out
    assert "out of memory" in printed
    assert "2,048" in printed
    assert "NVIDIA H100" in printed


@pytest.mark.parametrize("settings", [QUICK, SWIN])
def test_the_tables_of_the_sample_have_settings_that_it_takes(settings: tuple[str, ...]) -> None:
    from actloc import experiment

    for preset in FOR_ANY_ENCODER:
        loaded = experiment.load(CONFIG, [*settings, f"features.preset={preset}", "features.bank=stored"])
        assert loaded.features.trains_encoder


def test_the_table_of_adapters_has_settings_that_its_config_takes() -> None:
    from actloc import experiment

    for preset in (*FOR_ANY_ENCODER, *WITH_ADAPTERS):
        own = [] if preset in WITH_ADAPTERS else ["features.encoder.adapters=null"]
        loaded = experiment.load(VIT, [*SHORT, *own, *steps.way(preset), "features.bank=stored"])
        adapters = loaded.to_data()["features"]["encoder"]["adapters"]
        assert (adapters is not None) == (preset in WITH_ADAPTERS)
        assert preset != steps.LADDER or adapters["ladder"]

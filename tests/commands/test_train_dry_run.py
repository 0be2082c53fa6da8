"""`train --dry-run`: the memory that it reports is what a step then takes, and it writes nothing."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from actloc import console
from actloc.commands import extract_features, train
from actloc.datasets.base import read_prepared
from actloc.end_to_end.bank import Bank
from actloc.end_to_end.memory import LiveBytes
from actloc.experiment import Experiment, load
from actloc.runs.localizer import LocalizationLearner
from actloc.runs.trained import new_live_encoder, new_localizer
from actloc.runs.training_memory import training_memory
from actloc.training.trainer import Trainer
from tests.toy import CONFIG

BEFORE, _, AFTER = CONFIG.partition("features:")
ENCODED = (
    BEFORE
    + """features:
  name: encoded
  encoder: {name: efficientnet_lite0, short_side: 32, crop: 32}
  fps: 4
  clip_frames: 2
  stride_frames: 2
  max_steps: 8
  crop_ratio: null
"""
    + AFTER[AFTER.index("detector:") :].replace("batch_size: 1", "batch_size: 2")
)
MOST_WRONG = 0.05


@pytest.fixture
def encoded(folder: Path) -> Path:
    """The toy set, prepared, with a config whose encoder runs in every step."""
    (folder / "encoded.yaml").write_text(ENCODED)
    return folder


@contextmanager
def learning(experiment: Experiment, *, has_random_weights: bool = False) -> Iterator[LocalizationLearner]:
    """Random weights are the same each time."""
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    torch.manual_seed(0)
    encoder = experiment.features.encoder
    drawn = encoder.network().state_dict() if has_random_weights and encoder is not None else None
    live = new_live_encoder(experiment, drawn)
    source = experiment.features.build(annotations, "train", live)
    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    try:
        yield LocalizationLearner(localizer, source, annotations, lambda _: 0.0)
    finally:
        if live is not None:
            live.close()


def peak_of_the_second_step(experiment: Experiment, learner: LocalizationLearner) -> int:
    trainer = Trainer(
        learner,
        experiment.run_folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=0,
        num_workers=0,
        about={},
    )
    first, second = trainer.loader.batches(0, 2)
    trainer.train_step(first)
    trainer.optimizer.zero_grad(set_to_none=True)
    networks = [one.network for one in learner.modules.values()]
    state = [value for values in trainer.optimizer.state.values() for value in values.values()]
    always = [
        *(tensor for network in networks for tensor in (*network.parameters(), *network.buffers())),
        *trainer.averages.state_dict().values(),
        *(value for value in state if isinstance(value, torch.Tensor)),
    ]
    del first, networks, state
    with LiveBytes(always) as live:
        trainer.train_step(second)
    return live.peak


class NoBank(Bank):
    """Has zeros for every clip, and remembers nothing."""

    def read(self, video_id: str, first_rows: Sequence[int], count: int) -> torch.Tensor:
        return torch.zeros(len(first_rows), 1280, count)

    def commit(self, step: int, steps_per_epoch: int, processes: object) -> dict[str, float]:
        return {}


def slowly(settings: str) -> Any:  # Any: pytest does not export the type
    return pytest.param(settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "settings",
    [
        "features.preset=full",
        "features.preset=chunked features.chunk=2",
        "features.preset=etad",
        "features.preset=frozen features.chunk=1",
        "features.preset=bank_replay features.bank=stored",
        slowly("features.preset=tallformer features.bank=stored"),
        slowly("features.preset=full features.checkpoint_blocks=true training.precision=bfloat16"),
        slowly("features.preset=chunked training.batch_size=1 training.accumulate=2 optimizer.name=sgd"),
        slowly("features.preset=etad features.route=direct features.outside=zero features.align=centred"),
    ],
)
def test_a_step_with_an_encoder_takes_what_was_measured_before(encoded: Path, settings: str) -> None:
    experiment = load("encoded.yaml", settings.split())
    with learning(experiment) as learner:
        expected = training_memory(experiment, learner, 1).step.peak
        if experiment.features.bank_store is not None:
            learner.source.bank = NoBank(Path("bank"), dtype="float32")
        assert peak_of_the_second_step(experiment, learner) == pytest.approx(expected, rel=MOST_WRONG)


@pytest.mark.parametrize(
    "settings", [[], ["detector.dim=256", "features.max_steps=256", "training.accumulate=2"]], ids=["small", "large"]
)
def test_a_step_on_stored_features_takes_what_was_measured_before(folder: Path, settings: list[str]) -> None:
    experiment = load("toy.yaml", ["features.crop_ratio=null", *settings])
    extract_features.run(load("toy.yaml"))
    with learning(experiment) as learner:
        expected = training_memory(experiment, learner, 1).step.peak
        assert peak_of_the_second_step(experiment, learner) == pytest.approx(expected, rel=MOST_WRONG)


def test_an_encoder_that_looks_at_values_is_run(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load("encoded.yaml", ["features.preset=chunked"])
    with learning(experiment) as learner:
        without = training_memory(experiment, learner, 1).step
        assert learner.source.live is not None
        encode, asked = learner.source.live.encoder.encode, []

        def looking(clips: torch.Tensor) -> torch.Tensor:
            asked.append(clips.float().mean().item())
            return encode(clips)

        monkeypatch.setattr(learner.source.live.encoder, "encode", looking)
        assert training_memory(experiment, learner, 1).step.peak == pytest.approx(without.peak, rel=MOST_WRONG)
        assert asked
        assert all(one.grad is None for one in learner.source.live.encoder.parameters())


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_dry_run_prints_the_parts_and_what_needs_less(encoded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_in(encoded)
    experiment = load("encoded.yaml", ["features.preset=full"])
    assert train.run(experiment, dry_run=True) == 0
    printed = capsys.readouterr().out
    for part in ("weights", "averaged weights", "optimizer state", "gradients", "detector", "encoder", "frames"):
        assert part in printed
    assert "at most at the same time" in printed
    assert "With features.route=replay it is " in printed
    assert files_in(encoded) == before


def test_a_dry_run_is_an_event(
    encoded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_json_lines", True)
    assert train.run(load("encoded.yaml", ["features.preset=frozen"]), dry_run=True) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "plan"
    assert event["missing"] == []
    assert event["bytes"]["peak"] > event["bytes"]["weights"] > 0


def test_a_dry_run_reports_a_missing_video_and_the_memory_of_the_others(
    encoded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (encoded / "videos" / "v1.mp4").write_bytes(b"")
    assert train.run(load("encoded.yaml", ["features.preset=etad"]), dry_run=True) == 2
    printed = capsys.readouterr().out
    assert "at most at the same time" in printed
    assert "missing: v1" in printed


def test_a_dry_run_reports_missing_weights_and_their_memory(encoded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (encoded / "vit.yaml").write_text(ENCODED.replace("efficientnet_lite0, short_side: 32, crop: 32", "r2plus1d"))
    assert train.run(load("vit.yaml", ["features.preset=frozen"]), dry_run=True) == 2
    printed = capsys.readouterr().out
    assert "at most at the same time" in printed
    assert "Missing: " in printed


def test_a_dry_run_says_how_missing_features_are_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = load("toy.yaml", ["features.path=nowhere"])
    assert train.run(experiment, dry_run=True) == 2
    printed = capsys.readouterr().out
    assert printed.count("Missing: ") == 1
    assert "actloc extract-features toy.yaml features.path=nowhere" in printed

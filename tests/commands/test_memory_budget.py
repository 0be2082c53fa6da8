"""`features.memory_gb`: what is chosen is what fits, and it changes memory only."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from actloc import console
from actloc.commands import train
from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.runs.localizer import LocalizationLearner
from actloc.runs.memory_budget import Fitted, within_budget
from actloc.runs.training_memory import LargestStep
from actloc.sources import encoded as encoded_source
from actloc.training.distributed import Processes
from actloc.training.loader import Loader
from tests.commands import test_train_dry_run as of_dry_run
from tests.commands.test_train_dry_run import ENCODED, NoBank, peak_of_the_second_step
from tests.live.windows import difference

MOST_WRONG = 0.05
SMALL_SWIN = "name: video_swin, size: {dim: 24, depths: [1, 1, 1, 1], heads: [1, 2, 4, 8]}, side: 64, crop: 64"
ENCODERS = {
    "efficientnet_lite0": "{name: efficientnet_lite0, short_side: 32, crop: 32}",
    "video_swin": f"{{{SMALL_SWIN}}}",
    "r2plus1d": "{name: r2plus1d, variant: r2plus1d_18}",
}
"""At the smallest sizes that they take."""
LARGE = [f"features.encoder={{{SMALL_SWIN}, drop_path: 0.0}}", "training.batch_size=1"]
"""An encoder whose activations are most of a step."""


learning = partial(of_dry_run.learning, has_random_weights=True)


@pytest.fixture
def encoded(folder: Path) -> Path:
    (folder / "encoded.yaml").write_text(ENCODED)
    return folder


def fitted(experiment: Experiment, *, is_new: bool = True) -> Fitted:
    with learning(experiment) as learner:
        return within_budget(experiment, learner, 1, is_new=is_new)


def peak(*settings: str) -> int:
    """Bytes of the largest step with these settings and no budget."""
    experiment = load("encoded.yaml", list(settings))
    with learning(experiment) as learner:
        return LargestStep(experiment, learner, 1).bytes(learner.source, learner.source.live).peak


def budget(size: float) -> str:
    return f"features.memory_gb={size / 2**30}"


def chosen(experiment: Experiment) -> tuple[bool, int]:
    assert isinstance(experiment.features, encoded_source.Config)
    return experiment.features.checkpoint_blocks, experiment.features.chunk


@pytest.mark.parametrize(
    ("share", "settings"),
    [
        (0.95, "efficientnet_lite0 features.preset=full"),
        (1.01, "efficientnet_lite0 features.preset=etad features.kept_chunks=2"),
        (0.95, "video_swin features.preset=full"),
        (0.95, "video_swin features.preset=chunked"),
        (0.95, "r2plus1d features.preset=full features.max_steps=4 training.batch_size=1"),
        (1.01, "r2plus1d features.preset=etad features.max_steps=4 training.batch_size=1"),
    ],
)
def test_a_step_takes_what_was_estimated_and_fits(encoded: Path, settings: str, share: float) -> None:
    encoder, *own = settings.split()
    own = [f"features.encoder={ENCODERS[encoder]}", *own]
    most = peak(*own)
    experiment = load("encoded.yaml", [*own, budget(share * most)])
    with learning(experiment) as learner:
        made = within_budget(experiment, learner, 1, is_new=True)
        assert (chosen(made.experiment) == (False, 4)) == (share > 1)
        estimated = float(made.line.split("needs ")[1].removesuffix(" GB")) * 2**30
        assert estimated <= share * most * 1.01
        used = peak_of_the_second_step(made.experiment, learner)
    assert used == pytest.approx(estimated, rel=MOST_WRONG)


def gradient(experiment: Experiment, learner: LocalizationLearner) -> torch.Tensor:
    """Of the first batch, for all of the encoder's weights, in float64."""
    live = learner.source.live
    assert live is not None
    live.encoder.double()
    learner.detector.double().eval()  # without dropout
    size, accumulate = experiment.training.batch_size, experiment.training.accumulate
    (batch,) = next(Loader(learner.load_sample, learner.num_samples, size, accumulate, 0, 0).batches(0, 1))
    features, mask = learner.features(batch)
    learner.backward(torch.stack(list(learner.losses(features, mask, batch).values())).sum())
    return torch.cat([one.grad.flatten() for one in live.encoder.parameters() if one.grad is not None])


@pytest.mark.parametrize("preset", ["chunked", "full"])
def test_budgets_choose_what_is_cheapest_and_all_have_the_same_gradient(encoded: Path, preset: str) -> None:
    own = [*LARGE, f"features.preset={preset}"]
    usual, recomputed = peak(*own), peak(*own, "features.checkpoint_blocks=true")
    budgets = {2 * usual: (False, 4), recomputed: (True, 4)}
    if preset == "chunked":  # else a smaller chunk does not help
        budgets[recomputed - 1] = (True, 2)
        budgets[peak(*own, "features.checkpoint_blocks=true", "features.chunk=1")] = (True, 1)
    gradients = []
    for size, expected in budgets.items():
        experiment = load("encoded.yaml", [*own, budget(size)])
        with learning(experiment) as learner:
            made = within_budget(experiment, learner, 1, is_new=True)
            assert chosen(made.experiment) == expected
            gradients.append(gradient(made.experiment, learner))
    assert gradients[0].norm() > 0
    assert max(difference(one, gradients[0]) for one in gradients[1:]) <= 1e-10


@pytest.mark.parametrize(("preset", "numbers"), [("chunked", (8, 4, 2, 1, 0)), ("etad", (4, 2, 1, 0))])
def test_as_many_chunks_are_kept_as_fit(encoded: Path, preset: str, numbers: tuple[int, ...]) -> None:
    own = [*LARGE, f"features.preset={preset}", "features.chunk=1"]
    peaks = {number: peak(*own, f"features.kept_chunks={number}") for number in numbers}
    gradients = {}
    for most in peaks.values():
        number = max(number for number in peaks if peaks[number] <= most)
        experiment = load("encoded.yaml", [*own, budget(most)])
        with learning(experiment) as learner:
            made, live = within_budget(experiment, learner, 1, is_new=True), learner.source.live
            assert f": kept_chunks={number}, checkpoint_blocks=false, chunk=1; the largest step" in made.line
            assert made.chosen["kept_chunks"] == number
            assert live is not None
            assert live.kept_chunks == number
            gradients[number] = gradient(made.experiment, learner)
    first, *others = gradients.values()
    assert others
    assert first.norm() > 0
    assert max(difference(one, first) for one in others) <= 1e-10


def test_a_budget_replaces_the_number_of_chunks_that_a_preset_keeps(encoded: Path) -> None:
    own = ["features.preset=bank_replay", "features.bank=stored"]
    kept = []
    for more in ([], ["features.memory_gb=1"], ["features.memory_gb=1", "features.kept_chunks=3"]):
        features = load("encoded.yaml", [*own, *more]).features
        assert isinstance(features, encoded_source.Config)
        kept.append(features.kept_chunks)
    assert kept == [1, 0, 3]


def test_blocks_are_not_recomputed_where_a_smaller_chunk_is_enough_by_itself(encoded: Path) -> None:
    own = [*LARGE, "features.preset=frozen"]
    assert peak(*own, "features.chunk=1") < peak(*own)
    experiment = load("encoded.yaml", [*own, budget(peak(*own) - 1)])
    assert chosen(fitted(experiment).experiment) == (False, 2)


@pytest.mark.parametrize(
    ("stated", "expected"), [("checkpoint_blocks: false", (False, 2)), ("chunk: 4", (True, 4)), ("chunk: 3", (True, 3))]
)
def test_what_the_file_states_stays(encoded: Path, stated: str, expected: tuple[bool, int]) -> None:
    (encoded / "stating.yaml").write_text(ENCODED.replace("  fps: 4\n", f"  fps: 4\n  preset: chunked\n  {stated}\n"))
    most = peak(*LARGE, "features.preset=chunked", "features.chunk=3" if expected[1] == 3 else "features.chunk=4")
    experiment = load("stating.yaml", [*LARGE, budget(most - 1)])
    assert chosen(fitted(experiment).experiment) == expected


def test_what_a_preset_sets_and_what_learns_stay(encoded: Path) -> None:
    own = ["features.preset=tallformer", "features.bank=stored"]
    experiment = load("encoded.yaml", [*own, budget(1.01 * peak(*own, "features.chunk=1"))])
    with learning(experiment) as learner:
        learner.source.bank = NoBank(Path("bank"), dtype="float32")
        made = within_budget(experiment, learner, 1, is_new=True)
    before, after = experiment.to_data()["features"], made.experiment.to_data()["features"]
    assert {name for name in before if before[name] != after[name]} <= {"chunk"}
    assert after["checkpoint_blocks"]


def refusal(*settings: str) -> UserError:
    with pytest.raises(UserError) as raised:
        fitted(load("encoded.yaml", list(settings)))
    return raised.value


def test_a_budget_that_nothing_fits_names_the_least_and_a_preset_that_needs_less(encoded: Path) -> None:
    own = [*LARGE, "features.preset=full"]
    smallest = peak(*LARGE, "features.preset=chunked", "features.checkpoint_blocks=true", "features.chunk=1")
    error = refusal(*own, budget(1.01 * smallest))
    needed = error.found.split("at least ")[1].split(" GB")[0]
    assert "with features.checkpoint_blocks=true" in error.found
    assert f"Set features.memory_gb={needed} if" in error.fix
    enough = error.fix.split("features.preset=chunked, with which ")[1].split(" GB")[0]
    assert smallest <= float(enough) * 2**30 <= 1.01 * smallest
    fitted(load("encoded.yaml", [*own, f"features.memory_gb={needed}"]))
    refusal(*own, f"features.memory_gb={0.98 * float(needed)}")


def test_a_refusal_names_what_is_stated(encoded: Path) -> None:
    own = [*LARGE, "features.preset=chunked"]
    smallest = peak(*own, "features.checkpoint_blocks=true", "features.chunk=1")
    error = refusal(*own, "features.chunk=4", "features.checkpoint_blocks=false", budget(1.01 * smallest))
    assert "; or features.checkpoint_blocks=true features.chunk=1, with which" in error.fix
    assert "features.chunk" not in error.found


def test_a_refusal_names_only_what_needs_less(encoded: Path) -> None:
    with_bank = ["features.preset=tallformer", "features.bank=stored", "detector.dim=256"]
    smallest = peak(*LARGE, "features.preset=frozen", "detector.dim=256")
    error = refusal(*LARGE, *with_bank, budget(1.01 * smallest))
    assert "features.preset=frozen, with which" in error.fix
    assert "chunked" not in error.fix
    assert "bank_replay" not in error.fix
    error = refusal(*LARGE, "features.preset=frozen", budget(9))
    assert "; or " not in error.fix
    assert "checkpoint_blocks" not in error.found


def test_a_run_with_a_bank_is_told_of_a_replay_with_a_bank(encoded: Path) -> None:
    same = ["features.encoder.trainable=all", "features.fraction=0.9", "features.fps=16", "features.max_steps=64"]
    own = [*LARGE, *same, "features.bank=stored", "training.batch_size=3"]
    replay = ["features.preset=bank_replay", "features.checkpoint_blocks=true", "features.chunk=1"]
    error = refusal(*own, "features.preset=tallformer", budget(1.01 * peak(*own, *replay)))
    assert "; or features.route=replay, with which" in error.fix
    assert "; or features.preset=bank_replay, with which" in error.fix


def test_a_refusal_says_that_the_detector_is_what_is_large(encoded: Path) -> None:
    error = refusal("features.preset=frozen", "detector.dim=256", budget(9))
    assert "training.batch_size" in error.fix or "fewer weights that learn" in error.fix


def test_a_stated_budget_is_checked_where_nothing_can_be_chosen(encoded: Path) -> None:
    own = ["features.preset=chunked", "features.chunk=4", "features.checkpoint_blocks=false", "features.kept_chunks=0"]
    most = peak(*own)
    assert fitted(load("encoded.yaml", [*own, budget(most)])).free == ()
    refusal(*own, budget(most - 1))


def test_the_choice_leaves_the_detector_and_the_random_numbers_as_they_were(encoded: Path) -> None:
    experiment = load("encoded.yaml", ["features.preset=full", "features.memory_gb=1"])
    with learning(experiment) as learner:
        learner.detector.eval()
        before = {name: tensor.clone() for name, tensor in learner.detector.state_dict().items()}
        criterion = learner.detector.criterion.training_state()
        state = torch.get_rng_state()
        within_budget(experiment, learner, 1, is_new=True)
        assert torch.equal(torch.get_rng_state(), state)
        assert learner.detector.criterion.training_state() == criterion
        assert all(torch.equal(tensor, before[name]) for name, tensor in learner.detector.state_dict().items())
        networks = [one.network for one in learner.modules.values()]
        assert all(one.grad is None for network in networks for one in network.parameters())


def test_a_dry_run_shows_the_choice_and_the_memory_with_it(
    encoded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["features.preset=full", f"features.memory_gb={0.99 * peak('features.preset=full') / 2**30}"]
    assert train.run(load("encoded.yaml", own), dry_run=True) == 0
    assert ": checkpoint_blocks=true, chunk=4; the largest step needs " in capsys.readouterr().out
    monkeypatch.setattr(console, "_json_lines", True)
    assert train.run(load("encoded.yaml", own), dry_run=True) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["checkpoint_blocks"], event["chunk"]) == (True, 4)
    assert event["bytes"]["peak"] == peak("features.preset=full", "features.checkpoint_blocks=true")
    with pytest.raises(UserError, match="needs at least"):
        train.run(load("encoded.yaml", ["features.memory_gb=1e-3"]), dry_run=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "plan"


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_a_budget_is_a_number_above_zero(encoded: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"features\.memory_gb"):
        load("encoded.yaml", [f"features.memory_gb={value}"])


def test_every_process_takes_the_choice_of_the_first(encoded: Path) -> None:
    class Second(Processes):
        def of_first(self, make: Callable[[], Any]) -> Any:  # Any: as in the method itself
            return {"kept_chunks": 3, "checkpoint_blocks": True, "chunk": 2}, "as the first process says"

    experiment = load("encoded.yaml", ["features.preset=full", "features.memory_gb=9"])
    with learning(experiment) as learner:
        learner.processes = Second(rank=1, size=2)
        made = within_budget(experiment, learner, 2, is_new=True)
        assert chosen(made.experiment) == (True, 2)
        live = learner.source.live
        assert live is not None
        assert (live.chunk, live.kept_chunks) == (2, 3)
        assert all(isinstance(block.forward, partial) for stage in live.encoder.stages() for block in stage)

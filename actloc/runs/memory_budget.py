"""`features.memory_gb`: what is kept, what recomputes and how many clips a call has, so that a step fits the memory.

None of them changes the gradient. A run records what was chosen, and keeps it when it is resumed, on any machine.
"""

import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actloc import files
from actloc.annotations.model import Annotations
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.runs.localizer import LocalizationLearner
from actloc.runs.training_memory import WORTH_SAYING, LargestStep, advice_without_encoder
from actloc.sources import encoded
from actloc.sources.encoded import source as encoded_source
from actloc.training.memory import StepBytes

_RECORD = "memory_budget.json"
_CHOSEN = ("kept_chunks", "checkpoint_blocks", "chunk")
_RECORDED = ("memory_gb", "route", *_CHOSEN)
_CHUNKS = (4, 2, 1)


@dataclass(frozen=True)
class Fitted:
    """An experiment whose largest training step fits the memory, and how it came to do so."""

    experiment: Experiment
    """With what was chosen."""
    free: tuple[str, ...] = ()
    """The settings that could be chosen, because neither the settings file nor the command line states them."""
    line: str = ""
    """What was chosen, in words; empty where there is no budget."""

    @property
    def chosen(self) -> dict[str, Any]:  # Any: JSON values
        """The budget, and the settings that decide whether it suffices; nothing where there is no budget."""
        return {name: getattr(self.experiment.features, name) for name in _RECORDED} if self.line else {}

    def record(self) -> None:
        """Writes the choice to the run's folder."""
        if self.line:
            files.write_json(self.experiment.run_folder / _RECORD, {**self.chosen, "free": list(self.free)})


def within_budget(experiment: Experiment, learner: LocalizationLearner, num_processes: int, *, is_new: bool) -> Fitted:
    """Fits the learner's encoder to `features.memory_gb`, if that is set.

    A run that is not new keeps what it recorded, unless the budget or what is stated has changed since. All processes
    take the first one's choice. Raises UserError with what would do if nothing fits.
    """
    features, live = experiment.features, learner.source.live
    if not isinstance(features, encoded.Config) or features.memory_gb is None or live is None:
        return Fitted(experiment)
    stated, free = _as_stated(experiment, features)
    kept = None if is_new else _kept(experiment.run_folder, stated, free)

    def choose() -> tuple[dict[str, Any], str]:  # Any: JSON values
        if kept is not None:
            return kept, "as chosen when the run began"
        chosen, step = _Choice(experiment, learner, num_processes).first_that_fits(stated, free)
        return {name: getattr(chosen, name) for name in _CHOSEN}, f"the largest step needs {_gigabytes(step.peak)} GB"

    chosen, reason = learner.processes.of_first(choose)
    live.encoder.recompute_blocks(chosen["checkpoint_blocks"])
    live.chunk, live.kept_chunks = chosen["chunk"], chosen["kept_chunks"]
    useless = {"chunk": features.encoder.mixes_clips, "kept_chunks": features.route == "direct"}
    shown = [_written(name, value) for name, value in chosen.items() if not useless.get(name)]
    line = f"{_written('features.memory_gb', features.memory_gb)}: {', '.join(shown)}; {reason}"
    return Fitted(experiment.with_section("features", features.model_copy(update=chosen)), free, line)


def _as_stated(experiment: Experiment, features: encoded.Config) -> tuple[encoded.Config, tuple[str, ...]]:
    """The features without what an earlier choice set, and the settings that are free to choose.

    The settings file of a run states everything; what was free when the run began is free there too.
    """
    free = {name for name in _CHOSEN if name not in features.model_fields_set}
    record = _recorded(experiment.file.parent)
    if record is not None:
        earlier = [name for name in record["free"] if getattr(features, name) == record[name]]
        features = features.model_copy(update={name: type(features).model_fields[name].default for name in earlier})
        free.update(earlier)
    return features, tuple(name for name in _CHOSEN if name in free)


def _recorded(folder: Path) -> dict[str, Any] | None:  # Any: JSON values
    path = folder / _RECORD
    if not path.is_file():
        return None
    record = files.read_json(path)
    if isinstance(record, dict):
        record.setdefault("kept_chunks", 0)  # records from before it was chosen
    if not isinstance(record, dict) or not isinstance(record.get("free"), list) or not {*_RECORDED} <= record.keys():
        raise UserError(
            f"{path} is damaged: it does not state {', '.join(('free', *_RECORDED))}.",
            "Expected what `actloc train` measured and chose for features.memory_gb.",
            "Delete it, and it is measured again.",
        )
    return record


def _kept(folder: Path, stated: encoded.Config, free: tuple[str, ...]) -> dict[str, Any] | None:  # Any: as above
    """What the run recorded; None if it has no record, or one of another budget or of other stated settings."""
    record = _recorded(folder)
    if record is None:
        return None
    features = stated.model_copy(update={name: record[name] for name in free if name in record["free"]})
    is_same = all(getattr(features, name) == record[name] for name in _RECORDED)
    return {name: record[name] for name in _CHOSEN} if is_same else None


class _Choice:
    """Measures ways to take the largest step; leaves the encoder as it was."""

    def __init__(self, experiment: Experiment, learner: LocalizationLearner, num_processes: int) -> None:
        assert isinstance(experiment.features, encoded.Config), "it has a budget"
        assert learner.source.live is not None, "it encodes"
        self._experiment, self._features, self._live = experiment, experiment.features, learner.source.live
        self._encoder = self._live.encoder
        self._largest = LargestStep(experiment, learner, num_processes)
        self._budget = (experiment.features.memory_gb or 0.0) * 2**30

    def first_that_fits(self, stated: encoded.Config, free: tuple[str, ...]) -> tuple[encoded.Config, StepBytes]:
        """The cheapest settings that fit, and what they need; raises UserError."""
        tried = []
        for features in _ways(stated, free, self._largest.num_learning_chunks(stated.chunk)):
            step = self._needed(features)
            if step.peak <= self._budget:
                return features, step
            tried.append((features, step))
        raise self._nothing_fits(stated, *min(tried, key=lambda one: (one[1].peak, one[0].kept_chunks)))

    def _needed(self, features: encoded.Config) -> StepBytes:
        """By the largest step under other settings of the encoded features."""
        try:
            self._encoder.set_trainable(features.encoder.trainable)
            self._encoder.recompute_blocks(features.checkpoint_blocks)
            live = LiveEncoder(
                self._encoder,
                self._live.reader,
                precision=self._live.precision,
                route=features.route,
                chunk=features.chunk,
                outside=self._live.outside,
                kept_chunks=features.kept_chunks,
            )
            return self._largest.bytes(encoded_source.EncodedSource(features, Annotations((), {}), live), live)
        finally:
            self._encoder.set_trainable(self._features.encoder.trainable)
            self._encoder.recompute_blocks(self._features.checkpoint_blocks)

    def _nothing_fits(self, stated: encoded.Config, least: encoded.Config, step: StepBytes) -> UserError:
        changed = [name for name in _CHOSEN if getattr(least, name) != getattr(stated, name)]
        settings = " and ".join(_written(f"features.{name}", getattr(least, name)) for name in changed)
        needed, beside = _gigabytes(step.peak), advice_without_encoder(step, self._experiment.optimizer.name)
        fixes = [f"Set features.memory_gb={needed} if the machine has that much", *self._others(least, step)]
        return UserError(
            f"The largest training step needs at least {needed} GB{settings and ' with '}{settings}; "
            f"features.memory_gb is {least.memory_gb:g}.",
            f"Expected at least {needed} GB, or settings that need less.",
            "; or ".join(fixes) + (f". {beside}" if beside else ""),
        )

    def _others(self, least: encoded.Config, step: StepBytes) -> list[str]:
        """At most two other settings that fit, or the smallest that needs clearly less, each with what it needs."""
        found: list[tuple[int, str]] = []
        fitting: list[str] = []
        for settings in _candidates(least, len(self._encoder.stages())):
            try:
                other = load(self._experiment.typed, [*self._experiment.overrides, *settings])
            except UserError:  # they do not go with the other settings
                continue
            assert isinstance(other.features, encoded.Config), "only its settings changed"
            *_, smallest = _ways(*_as_stated(other, other.features), most_kept=0)
            peak = self._needed(smallest).peak
            if peak < WORTH_SAYING * step.peak:
                found.append((peak, f"{shlex.join(settings)}, with which {_gigabytes(peak)} GB are enough"))
                fitting += [found[-1][1]] if peak <= self._budget else []
            if len(fitting) == 2:
                break
        return fitting or [text for _, text in sorted(found)[:1]]


def _ways(stated: encoded.Config, free: tuple[str, ...], most_kept: int) -> Iterator[encoded.Config]:
    """From the fastest to the smallest: ever fewer chunks are kept, blocks recompute, a call has ever fewer clips.

    There are `most_kept` chunks that could be kept.
    """
    recomputes = stated.checkpoint_blocks or ("checkpoint_blocks" in free and stated.encoder.trainable != "none")
    may_keep = "kept_chunks" in free and stated.route == "replay"
    kept = [*_halved(most_kept), 0] if may_keep else [stated.kept_chunks]
    may_lower = "chunk" in free and not stated.encoder.mixes_clips
    ways = [(number, blocks, stated.chunk) for blocks in (stated.checkpoint_blocks, recomputes) for number in kept]
    ways += [(kept[-1], recomputes, chunk) for chunk in _CHUNKS if may_lower and chunk < stated.chunk]
    for number, blocks, chunk in dict.fromkeys(ways):
        yield stated.model_copy(update={"kept_chunks": number, "checkpoint_blocks": blocks, "chunk": chunk})


def _halved(number: int) -> Iterator[int]:
    """The number, half of it, and so on to 1; nothing for 0."""
    while number:
        yield number
        number //= 2


def _candidates(least: encoded.Config, num_stages: int) -> Iterator[list[str]]:
    """Settings that may need less, from those that change the least in what is learned."""
    trainable = least.encoder.trainable
    stated = ["features.checkpoint_blocks=true"] if trainable != "none" and not least.checkpoint_blocks else []
    stated += ["features.kept_chunks=0"] if least.kept_chunks else []
    stated += ["features.chunk=1"] if least.chunk > 1 and not least.encoder.mixes_clips else []
    if stated:
        yield stated
    if trainable == "none":
        return
    if least.fraction < 1 and least.route == "direct":
        yield ["features.route=replay"]
    for preset in ("bank_replay" if least.others == "bank" else "chunked", "etad"):
        if preset != least.preset:
            yield [f"features.preset={preset}"]
    first = {"all": 0}.get(trainable, num_stages) if isinstance(trainable, str) else trainable.from_stage
    yield from ([f"features.encoder.trainable={{from_stage: {stage}}}"] for stage in range(first + 1, num_stages))
    yield ["features.preset=frozen"]


def _written(name: str, value: bool | float) -> str:
    return f"{name}={json.dumps(value) if isinstance(value, bool) else format(value, 'g')}"


def _gigabytes(size: int) -> str:
    """In units of 2^30 bytes, rounded up to three digits, so that it is enough as a budget."""
    exact = size / 2**30
    unit = 10.0 ** (math.floor(math.log10(exact)) - 2)
    return f"{math.ceil(exact / unit) * unit:.3g}"

"""The table of `scripts/bench steps`: what a training step of any experiment costs under every preset.

On a CPU the presets take their steps in turns, so that a busy machine slows all of them alike, and the time is the
processor's time of this process, without the decoders'. On a GPU each preset is alone with its memory, and the time is
that on the clock, from an idle GPU to an idle GPU. Windows that are loaded ahead are loaded before the clock starts.
How often the network waits for frames is counted in other steps, one after the other, as training takes them.
"""

import argparse
import gc
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from actloc.annotations.model import Annotations
    from actloc.experiment import Experiment
    from actloc.sources.base_source import Source
    from actloc.training.trainer import Trainer


LADDER = "ladder"
"""A row beside the presets: adatad with its adapters beside the network."""


@dataclass(frozen=True)
class Costs:
    """Of a step under one preset; None where the memory did not suffice for it, or there is no GPU."""

    preset: str
    step_s: float | None = None
    """Seconds of the fastest measured step."""
    saved_mb: float | None = None
    """Peak of the bytes kept for the backward pass."""
    frames_decoded: float | None = None
    """Pictures that the decoders gave per step."""
    gpu_mb: float | None = None
    """Peak of the GPU memory that torch gave out, weights and optimizer included; MB are 2^20 bytes."""
    waits: int | None = None
    """Waits for frames of more than a hundredth of a second in as many steps in a row, after a first one."""
    waited_s: float | None = None
    """Seconds on the clock of all waits in these steps."""


def main() -> None:
    """Measure, print, write."""
    from actloc.command_line.exit_status import fail
    from actloc.end_to_end.presets import FOR_ANY_ENCODER, PRESETS
    from actloc.errors import ActlocError

    parser = argparse.ArgumentParser(
        prog="scripts/bench steps", description="Measure the training step of an experiment with encoded features."
    )
    parser.add_argument("config", metavar="CONFIG", help="name or file of the experiment")
    parser.add_argument("settings", metavar="SETTINGS", nargs="*", help="settings for all presets, as for actloc train")
    parser.add_argument("--presets", default=",".join(FOR_ANY_ENCODER), help="presets to measure, in this order")
    parser.add_argument("--steps", type=int, default=4, help="steps to measure of each preset")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_steps"), help="folder for banks and the table")
    options = parser.parse_intermixed_args()
    presets = options.presets.split(",")
    unknown = [preset for preset in presets if preset not in (*PRESETS, LADDER)]
    if unknown or options.steps < 1:
        known = ", ".join((*PRESETS, LADDER))
        parser.error(f"found {', '.join(unknown)}, expected {known}" if unknown else "--steps is below 1")
    os.environ.setdefault("OMP_NUM_THREADS", str(num_cores()))
    try:
        settings = [f"run.folder={options.folder}", *options.settings]
        prepare(options.config, settings, presets, options.folder)
        with_stored = with_bank(options.config, settings, options.folder)
        rows = measured(options.config, dict.fromkeys(presets, with_stored), options.steps)
    except ActlocError as error:
        sys.exit(fail(error))
    show(options.config, rows)
    write(options.folder / "table.json", options.config, settings, [asdict(row) for row in rows])


def way(preset: str) -> list[str]:
    """The settings of a row: those of a preset, or of AdaTAD's adapters beside the network."""
    ladder = "features.preset=adatad", "features.encoder.adapters.ladder=true"
    return list(ladder) if preset == LADDER else [f"features.preset={preset}"]


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def actloc(*arguments: str) -> None:
    """Runs a command, which prints its errors; exits with its status if it fails."""
    done = subprocess.run([sys.executable, "-m", "actloc", *arguments], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)


def prepare(config: str, settings: Sequence[str], presets: Sequence[str], folder: Path) -> None:
    """Prepares the dataset, and the features that banks start from."""
    from actloc.end_to_end.presets import PRESETS

    actloc("prepare", config, *settings, "features.preset=frozen")
    for preset in presets:
        if PRESETS.get(preset, {}).get("others") == "bank":
            actloc("extract-features", config, *with_bank(config, settings, folder), f"features.preset={preset}")
            return  # all of them start from the same


def with_bank(config: str, settings: Sequence[str], folder: Path) -> list[str]:
    """The settings, with a folder for the features that banks start from, unless they name one."""
    from actloc import experiment as experiments
    from actloc.sources import encoded

    features = experiments.load(config, [*settings, "features.preset=frozen"]).features
    names_one = isinstance(features, encoded.Config) and features.bank is not None
    return [*settings, *([] if names_one else [f"features.bank={folder / 'stored'}"])]


def measured(config: str, settings: Mapping[str, Sequence[str]], num_steps: int) -> list[Costs]:
    """The costs of each preset with its settings: the fastest of some steps after a first one, in which saved bytes are
    counted."""
    from actloc import experiment as experiments
    from actloc.commands.training_run import be_repeatable
    from actloc.devices import choose_device

    be_repeatable()  # as training is, which some operations of a GPU take longer for
    first, own = next(iter(settings.items()))
    device = choose_device(experiments.load(config, [*own, *way(first)]).machine.device)
    return (_in_turns if device.type != "cuda" else _alone)(config, settings, num_steps)


def _alone(config: str, settings: Mapping[str, Sequence[str]], num_steps: int) -> list[Costs]:
    """Each with the whole memory of the GPU, so that one which does not fit costs the others nothing."""
    import torch

    rows = []
    for preset, own in settings.items():
        gc.collect()
        torch.cuda.empty_cache()
        try:
            rows += _in_turns(config, {preset: own}, num_steps)
        except torch.OutOfMemoryError:
            rows.append(Costs(preset))
    return rows


def _in_turns(config: str, settings: Mapping[str, Sequence[str]], num_steps: int) -> list[Costs]:
    with ExitStack() as held:
        all_of_them = [
            held.enter_context(closing(_Stepping(preset, config, own, num_steps))) for preset, own in settings.items()
        ]
        for number in range(num_steps + 1):
            for one in all_of_them:
                one.count() if number == 0 else one.measure()
        for one in all_of_them:
            one.wait()
        return [one.costs() for one in all_of_them]


class _Stepping:
    """One preset's training, step by step."""

    def __init__(self, preset: str, config: str, settings: Sequence[str], num_steps: int) -> None:
        from actloc import experiment as experiments

        self.preset = preset
        experiment = experiments.load(config, [*settings, *way(preset), f"run.name=steps_{preset}"])
        self._trainer, self._num_workers = _trainer(experiment), experiment.machine.num_workers
        live = self._trainer.learner.source.live  # type: ignore[attr-defined]  # of the one task that there is
        self.close = live.close
        self._reader, self._device, self._waits = live.reader, live.encoder.device, live.waits
        self._trainer.learner.begin()
        self._batches = self._trainer.loader.batches(0, num_steps + 1)
        self._seconds: list[float] = []
        self._saved_bytes = self._frames_before = 0
        self._decoded = 0.0

    def count(self) -> None:
        """The first step: counting takes time, and a first step is slower anyway."""
        from actloc.end_to_end.memory import SavedBytes

        with SavedBytes(self._trainer.parameters) as counted:
            self._trainer.train_step(next(self._batches))
        self._saved_bytes = counted.peak
        self._frames_before = self._reader.frames_decoded
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)

    def measure(self) -> None:
        """One more step."""
        batches = next(self._batches)
        start = _now(self._device)
        self._trainer.train_step(batches)
        self._seconds.append(_now(self._device) - start)

    def wait(self) -> None:
        """As many steps more, whose frames are loaded while the step before computes."""
        self._decoded = (self._reader.frames_decoded - self._frames_before) / len(self._seconds)
        trainer, number = self._trainer, len(self._seconds)
        loader = replace(trainer.loader, num_workers=max(self._num_workers, 1))
        batches = loader.batches(trainer.step, trainer.step + number + 1)
        trainer.train_step(next(batches))  # whose own frames nothing hides
        self._waits.count, self._waits.seconds = 0, 0.0
        for one in self._waits.over(batches):
            trainer.train_step(one)

    def costs(self) -> Costs:
        """Of the steps so far."""
        import torch

        is_gpu = self._device.type == "cuda"
        gpu_mb = torch.cuda.max_memory_allocated(self._device) / 2**20 if is_gpu else None
        waits = self._waits.count, self._waits.seconds
        return Costs(self.preset, min(self._seconds), self._saved_bytes / 2**20, self._decoded, gpu_mb, *waits)


def _now(device: "torch.device") -> float:
    """Seconds of this process on the processor, or on the clock once the GPU has done its work."""
    if device.type != "cuda":
        return time.process_time()
    import torch

    torch.cuda.synchronize(device)
    return time.perf_counter()


def _trainer(experiment: "Experiment") -> "Trainer":
    from actloc.annotations import form
    from actloc.runs.run_bank import give_bank
    from actloc.runs.trained import new_live_encoder

    annotations = form.read(experiment.dataset.annotations_file)
    source = experiment.features.build(annotations, experiment.dataset.training_subset, new_live_encoder(experiment))
    give_bank(experiment, source, is_new=True)
    return trainer_on(source, annotations, experiment)


def trainer_on(source: "Source", annotations: "Annotations", experiment: "Experiment") -> "Trainer":
    """A trainer as that of `actloc train`, of a new network; it writes nothing."""
    from actloc.runs.localizer import LocalizationLearner
    from actloc.runs.trained import new_localizer
    from actloc.training.trainer import Trainer

    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    return Trainer(
        LocalizationLearner(localizer, source, annotations, lambda _: {}),
        experiment.run_folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=experiment.run.seed,
        num_workers=0,
        about={},
    )


def show(title: str, rows: Sequence[Costs], more: Mapping[str, Sequence[str]] | None = None) -> None:
    """Prints the table with where and how it was measured; `more` columns that have cells come after the preset."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from actloc import console, provenance
    from scripts.benchmarks.results import processor

    on_gpu = any(row.gpu_mb is not None or row.step_s is None for row in rows)
    columns = {"preset": [row.preset for row in rows], **{name: cells for name, cells in (more or {}).items() if cells}}
    columns["s per step"] = ["out of memory" if row.step_s is None else f"{row.step_s:.2f}" for row in rows]
    columns["saved MB"] = ["-" if row.saved_mb is None else f"{row.saved_mb:,.1f}" for row in rows]
    columns["frames decoded per step"] = [
        "-" if row.frames_decoded is None else f"{row.frames_decoded:,.0f}" for row in rows
    ]
    columns["waits"] = ["-" if row.waits is None else f"{row.waits} ({row.waited_s:.2f} s)" for row in rows]
    if on_gpu:
        columns["peak GPU MB"] = ["-" if row.gpu_mb is None else f"{row.gpu_mb:,.0f}" for row in rows]
        how = f"Time on the clock of steps on {torch.cuda.get_device_name()}"
    else:
        threads = console.count(torch.get_num_threads(), "thread")
        how = f"Steps in turns, processor time without the decoders' on {processor()}, {threads}"
    table = Table(title=title, caption=f"{how}; commit {provenance.commit()}; measured by us.")
    for name in columns:
        table.add_column(name, justify="left" if name == "preset" else "right")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    Console(width=max(Console().width, 110)).print(table)


def write(path: Path, config: str, settings: Sequence[str], rows: list[dict[str, object]]) -> None:
    """Writes the numbers as JSON."""
    from actloc import files, provenance

    record = {"version": 1, "config": config, "settings": list(settings), "machine": provenance.machine()}
    files.write_json(path, {**record, "commit": provenance.commit(), "rows": rows})


if __name__ == "__main__":
    main()

"""`actloc export-onnx RUN FILE`: a run's detector as an ONNX file, which computes what torch does."""

import shlex
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.reports import outputs
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of


def run(experiment: Experiment, target: Path, *, num_steps: int | None = None, overwrite: bool = False) -> int:
    """Writes the file for videos that are padded as one of `num_steps`; refuses the files of others."""
    if target.suffix != ".onnx":
        raise UserError(
            f"{target} does not end in .onnx.", "Expected the name of an ONNX file.", f"Name it {target}.onnx"
        )
    replace = "Replace it with --overwrite, or name another file."
    outputs.refuse_others([target], overwrite=overwrite, fix=replace)
    task = task_of(experiment)
    with stopping_at_once(is_saved=False), outputs.recording([target]):
        written = task.export_onnx(experiment, target, num_steps)
    record = written.record
    console.say(
        f"features (1, {record.channels}, {record.steps}) float32 and mask (1, {record.steps}) bool give "
        f"{', '.join(written.outputs)}"
    )
    console.result(
        f"{target}: {record.detector} of {record.run}, {record.checkpoint}, {record.steps} steps, "
        f"{written.num_bytes / 1e6:.1f} MB; at most {written.difference:.0e} from torch's outputs"
    )
    console.emit("done", path=str(target), steps=record.steps, difference=written.difference)
    console.say(
        f"Next: actloc predict {shlex.quote(str(experiment.run_folder))} VIDEO --onnx {shlex.quote(str(target))}"
    )
    return 0

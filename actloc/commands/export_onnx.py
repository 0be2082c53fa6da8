"""`actloc export-onnx RUN FILE`: a run's detector or encoder as an ONNX file, which computes what torch does."""

import shlex
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.reports import outputs
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of


def run(
    experiment: Experiment,
    target: Path,
    *,
    num_steps: int | None = None,
    of_encoder: bool = False,
    overwrite: bool = False,
) -> int:
    """Writes the detector for videos that are padded as one of `num_steps`, or the encoder."""
    if target.suffix != ".onnx":
        raise UserError(
            f"{target} does not end in .onnx.", "Expected the name of an ONNX file.", f"Name it {target}.onnx"
        )
    if of_encoder and num_steps is not None:
        raise UserError(
            f"--steps {num_steps} was given with --encoder.",
            "Expected one of them: the encoder sees one frame at a time.",
            "Remove --steps.",
        )
    replace = "Replace it with --overwrite, or name another file."
    outputs.refuse_others([target], overwrite=overwrite, fix=replace)
    task = task_of(experiment)
    with stopping_at_once(is_saved=False), outputs.recording([target]):
        written = task.export_onnx(experiment, target, num_steps, of_encoder=of_encoder)
    record = written.record
    shapes = {name: tuple(length or "any" for length in shape) for name, shape in record.inputs.items()}
    inputs = " and ".join(f"{name} {shape}".replace("'", "") for name, shape in shapes.items())
    console.say(f"{inputs} give{'s' * (len(shapes) == 1)} {', '.join(written.outputs)}")
    console.result(
        f"{target}: the {record.part} {record.name} of {record.run}, {written.num_bytes / 1e6:.1f} MB, at most "
        f"{written.difference:.0e} from torch's outputs"
    )
    console.emit("done", path=str(target), inputs=record.inputs, difference=written.difference)
    run_folder, file = shlex.quote(str(experiment.run_folder)), shlex.quote(str(target))
    console.say(f"Next: actloc predict {run_folder} VIDEO --onnx {file}")
    return 0

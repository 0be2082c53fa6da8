"""The weights that `training.initialise` names: those of a run, a checkpoint or an official file."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import Experiment, run_folder
from actloc.runs.prepared import PreparedTraining
from actloc.training import checkpoint as checkpoints
from actloc.training.initialising import StartingWeights, Taken, initialise
from actloc.training.modules import ENCODER

_RECORD = "initialised.json"


def read(experiment: Experiment, official: Callable[[Path], dict[str, Tensor]]) -> StartingWeights | None:
    """The weights that the settings name, of a run or checkpoint the averaged ones; None if the settings name none.

    `official` reads an official file, under our names. Raises UserError if there are no such weights.
    """
    path = experiment.training.initialise
    if path is None:
        return None
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        return StartingWeights(str(path), official(path), None)
    folder = path
    if not (path / "manifest.json").is_file():
        folder = checkpoints.last(_run(path))
    if folder.parent.resolve() == experiment.run_folder.resolve():
        raise UserError(
            f"training.initialise is {path}, which is this run.",
            "Expected another run, whose checkpoints stay.",
            "Name the new run: run.name=ANOTHER",
        )
    stored = checkpoints.load(folder)
    about = stored.numbers["about"]
    frozen = checkpoints.load_frozen(folder.parent, about.get("frozen_sha256"))
    tensors = frozen | (stored.averaged if experiment.evaluation.weights == "averaged" else stored.weights)
    return StartingWeights(str(folder), tensors, about["classes"], about.get("encoder_weights_sha256"))


def _run(path: Path) -> Path:
    """The run that is named; raises UserError if there is none."""
    try:
        folder = run_folder(str(path))
    except UserError:
        folder = path
    if not checkpoints.steps(folder):
        raise UserError(
            f"training.initialise is {path}, which is no trained run, checkpoint or file.",
            "Expected the folder of a run or of one of its checkpoints, or an official file of weights.",
            "List the runs: actloc ls runs",
        )
    return folder


def apply(prepared: PreparedTraining, start: StartingWeights) -> Taken:
    """Copies the weights into the networks, and prints what was taken, what is new and what was left.

    Raises UserError if nothing fits.
    """
    learner = prepared.learner
    about = learner.about()
    has_other_classes = start.classes is not None and list(start.classes) != list(about["classes"])
    class_axes = prepared.class_axes() if has_other_classes else {}
    result = initialise(learner.modules, start, about["classes"], class_axes)
    if not result.taken and not result.partly:
        raise UserError(
            f"No weight of {start.origin} fits the networks of these settings.",
            "Expected weights of the same encoder or of the same detector.",
            "Use the settings that it was trained with, or train from the usual start: training.initialise=null",
        )
    entire, partly, left = (console.count(len(one), "tensor") for one in (result.taken, result.partly, result.left))
    console.say(f"Started from {start.origin}: {entire} taken")
    for labels in {tuple(one) for one in result.partly.values()}:
        console.say(f"Of {partly} the entries of {console.first_ten(labels)} taken: {console.first_ten(result.partly)}")
        new = [label for label in about["classes"] if label not in labels]
        left_out = [label for label in start.classes or () if label not in labels]
        for what, names in (("New", new), ("Left", left_out)):
            if names:
                counted = console.count(len(names), "class", "classes")
                console.say(f"{what}: {counted}: {console.first_ten(names)}")
    if result.new:
        listed = [f"{name} ({reason})" for name, reason in result.new.items()]
        console.say(f"New: {console.count(len(result.new), 'tensor')}: {console.first_ten(listed)}")
    if result.left:
        console.say(f"Left: {left} that no network here has: {console.first_ten(result.left)}")
    before, now = start.encoder_weights_sha256, about.get("encoder_weights_sha256")
    if ENCODER not in learner.modules and before and now and before != now:
        console.warn(f"{start.origin} was trained on features of other encoder weights than these features")
    return result


def write_record(folder: Path, start: StartingWeights, result: Taken) -> None:
    """Writes where the run's first weights come from, and every tensor by name, into the run's folder."""
    files.write_json(folder / _RECORD, {"start": start.origin, "classes": start.classes, **asdict(result)})

"""`actloc prepare CONFIG`: writes annotations.json from the dataset's original annotations; can convert videos."""

from actloc import console
from actloc.experiment import Experiment
from actloc.extraction.preparing import prepare
from actloc.tasks.base import task_of


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; does nothing if it is complete."""
    annotations = prepare(experiment.dataset, experiment.preparation, overwrite=overwrite)
    task = task_of(experiment)
    task.report_prepared(experiment, annotations)
    console.emit("done", path=str(experiment.dataset.annotations_file), videos=len(annotations.videos))
    console.say(f"Next: actloc {task.after_prepare(experiment, annotations)}")
    return 0

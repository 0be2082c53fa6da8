"""`actloc prepare CONFIG`: writes annotations.json from the dataset's original annotations; can convert videos."""

from actloc import console
from actloc.annotations import left_out
from actloc.experiment import Experiment
from actloc.extraction.preparing import prepare
from actloc.tasks.base import task_of


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; does nothing if it is complete."""
    annotations = prepare(experiment.dataset, experiment.preparation, overwrite=overwrite)
    task = task_of(experiment)
    task.report_prepared(experiment, annotations)
    unused = left_out.read(experiment.dataset.folder) if experiment.dataset.has_own_labels else []
    path = str(experiment.dataset.annotations_file)
    console.emit("done", path=path, videos=len(annotations.videos), left_out=unused)
    console.say(f"Next: actloc {task.after_prepare(experiment, annotations)}")
    return 0

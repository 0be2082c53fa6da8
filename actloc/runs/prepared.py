"""What a task hands to `train`: everything checked and loaded, before the run's folder is touched."""

from __future__ import annotations  # names for the type checker only: `train` checks settings without importing torch

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actloc.experiment import Experiment

if TYPE_CHECKING:
    from actloc.training.distributed import Processes
    from actloc.training.trainer import Learner, Trainer


@dataclass(frozen=True)
class PreparedTraining:
    """A learner that can start."""

    experiment: Experiment
    """With the settings that were chosen on the way, if any were left to choose."""
    learner: Learner
    network: str
    """The name of the detector or encoder that is trained."""
    size: Mapping[str, int]
    """How much it is trained on: the numbers of `videos`, `actions` or `clips`, and `classes`."""
    report_start: Callable[[], None]
    """Prints what is going to be trained, and what is left out."""
    write_record: Callable[[], None]
    """Writes what was chosen into the run's folder, beside its settings."""
    must_stay: Mapping[str, str]
    """What a resumed run needs as it was: the key of `learner.about()` with its sha256 or its value, and the words for
    it, such as `weights of the encoder`."""
    class_axes: Callable[[], Mapping[str, int | None]]
    """The tensors that depend on the classes, with the axis that has an entry for each; None where there is none."""
    read_all: Callable[[], None] = lambda: None
    """Reads all that training will read, as long as it is there already: raises what training would."""

    def trainer(self, folder: Path, about: dict[str, Any], processes: Processes) -> Trainer:  # Any: JSON values
        """Takes the steps of the schedule and saves checkpoints in `folder`, which hold `about`."""
        from actloc.training.trainer import Trainer  # needs torch, which the checks before do without

        experiment = self.experiment
        return Trainer(
            self.learner,
            folder,
            optimizer=experiment.optimizer,
            schedule=experiment.schedule,
            average=experiment.average,
            training=experiment.training,
            seed=experiment.run.seed,
            num_workers=experiment.machine.num_workers,
            about=about,
            processes=processes,
        )

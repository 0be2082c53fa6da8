"""The interface of tasks: what each command does with an experiment."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from actloc.errors import UserError
from actloc.evaluation.results import ResultsHead
from actloc.experiment import Experiment, load
from actloc.settings import parts
from actloc.settings.choices import TableForm
from actloc.settings.sections import Section
from actloc.settings.task import TaskSettings

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.annotations.model import Annotations
    from actloc.encoders.base import EncoderConfig
    from actloc.prediction.base import FilePredictor, Predicting, WatchingSource
    from actloc.prediction.video_predictor import VideoPredictor
    from actloc.reports.explanations import Explanation
    from actloc.reports.model_card import Contents
    from actloc.runs.onnx_export import WrittenNetwork
    from actloc.runs.prepared import PreparedTraining
    from actloc.training.distributed import Processes


class TaskConfig(TaskSettings, ABC):
    """A task; commands ask it to do their work, and do not ask which one it is."""

    results: ClassVar[type[ResultsHead]]
    """What `eval` writes to metrics.json."""
    report_files: ClassVar[tuple[str, ...]] = ("report.html", "tables.md", "tables.csv")
    """The names of the files that `report` writes; the page is first."""
    takes_frames: ClassVar[bool] = False
    """Whether a folder of frames can be given to `predict` and `explain` in place of a video file."""

    finds_actions: ClassVar[bool] = False
    """Whether what `predict` finds are segments with a label, which annotation tools can open."""

    def encoder_in(self, section: Section) -> tuple[EncoderConfig, int] | None:
        """The encoder in a section and the frames of the clips that it takes; None in a section without one."""
        return None

    def num_classes(self, experiment: Experiment) -> int | None:
        """How many classes the encoder itself names; None where it makes features, or the dataset's files say it."""
        return None

    def report_prepared(self, experiment: Experiment, annotations: Annotations) -> None:
        """Reports what prepared data is missing; usually no-op."""

    @abstractmethod
    def after_prepare(self, experiment: Experiment, annotations: Annotations) -> str:
        """The command that follows `prepare`, without the word actloc."""

    def check_training(self, experiment: Experiment, annotations: Annotations) -> None:
        """Raises UserError where training is known to fail before any network is built; usually no-op."""

    @abstractmethod
    def prepare_training(
        self,
        experiment: Experiment,
        annotations: Annotations,
        processes: Processes,
        held: ExitStack,
        *,
        is_new: bool,
    ) -> PreparedTraining:
        """Checks and loads everything that training needs; `held` closes it. Every process calls it."""

    @abstractmethod
    def official_weights(self, experiment: Experiment, file: Path) -> dict[str, Tensor]:
        """The weights of an official file that a run can start from, named as in `training.modules`."""

    @abstractmethod
    def dry_run(self, experiment: Experiment, num_processes: int) -> int:
        """Reports the memory of a training step and anything missing, and writes nothing; returns the exit status."""

    @abstractmethod
    def evaluate(self, experiment: Experiment, predictions: Path | None, scores: Path | None) -> int:
        """Scores a run, or a file of predictions, writes the results and prints them; returns the exit status.

        `scores` is a file to write the class scores of each video to.
        """

    @abstractmethod
    def predicted_files(self, video_ids: Sequence[str]) -> list[str]:
        """The names of the files that `predict` makes of the results of these videos."""

    @abstractmethod
    def predicting(self, experiment: Experiment) -> Predicting:
        """The trained run, loaded for `predict`; raises UserError."""

    def predicting_with_onnx(self, experiment: Experiment, onnx: Sequence[Path]) -> Predicting:
        """The same with networks in ONNX files; raises UserError if they are not those of the run."""
        raise _no_onnx(self.name, f"--onnx {onnx[0]}")

    def export_onnx(
        self, experiment: Experiment, file: Path, num_steps: int | None, *, of_encoder: bool
    ) -> WrittenNetwork:
        """Writes the run's detector as ONNX, at the padded length of a video of `num_steps`, or its encoder."""
        raise _no_onnx(self.name, "export-onnx")

    def watching(
        self, experiment: Experiment, file: Path, longest_action_s: float | None, every_s: float | None
    ) -> WatchingSource:
        """The run at work on a source as it comes, which writes to `file`; only asked of a task that has
        `finds_actions`."""
        raise NotImplementedError

    @abstractmethod
    def predictor(self, experiment: Experiment) -> FilePredictor:
        """The trained run, loaded for `actloc.load(RUN).predict(VIDEO)`; raises UserError."""

    @abstractmethod
    def explain(
        self,
        experiment: Experiment,
        video: Path,
        label: str | None,
        at: tuple[float, float] | None,
        layer: str | None,
        fps: float,
    ) -> Explanation:
        """Which pixels of a video speak for a class, in a segment in seconds if there is one; `fps` pictures a second.

        Without a class, for the best one. `layer` names the layer of the encoder that is looked at.
        """

    def card(self, run: Path, checkpoint: Path) -> Contents:
        """What the model card of a run's weights says, with what was measured of this checkpoint; raises UserError."""
        raise UserError(
            f"The task {self.name} does not write model cards.",
            "Expected a run of a task that does.",
            "Add the method `card` to the task; actloc/tasks/localization.py is an example.",
        )

    @abstractmethod
    def report(self, run_folders: Sequence[Path]) -> dict[str, str]:
        """Prints the results of runs; returns the contents of `report_files` by name."""

    @abstractmethod
    def table(self, run_folders: Sequence[Path], form: TableForm) -> str:
        """The table of the results of runs by itself, for a paper or a spreadsheet; prints and writes nothing."""

    @abstractmethod
    def to_run(self, file: Path, folder: Path, experiment: Experiment) -> Path:
        """Makes a run of an official checkpoint; returns its checkpoint."""

    @abstractmethod
    def to_official(self, source: Path, file: Path, experiment: Experiment | None) -> None:
        """Writes the checkpoint in the folder `source` as an official one."""


def _no_onnx(task: str, asked: str) -> UserError:
    return UserError(
        f"{asked} was given, and the task is {task}.",
        "Expected a run of localization: its detector is what is written as ONNX.",
        "Use the run with torch.",
    )


def task_of(experiment: Experiment) -> TaskConfig:
    """The experiment's task, which does the work of commands."""
    task = experiment.task
    assert isinstance(task, TaskConfig), "parts of this kind extend it"
    return task


def task_named(name: str) -> TaskConfig:
    """The task that results or a checkpoint name; raises UserError if it is missing, as for a newer version's."""
    try:
        task: TaskConfig = parts.find("tasks", name).Config()
    except ValueError as error:
        raise UserError(
            f"It was made by the task {name}, which is missing: {error}.",
            "Expected a task of this version of actloc, or one of your own.",
            "Update actloc, or load your own task with --code FILE",
        ) from error
    return task


def load_predictor(run: str | Path, code: Sequence[Path] = (), settings: Sequence[str] = ()) -> VideoPredictor:
    """The predictor of a run, with changed settings, the user's own `code` and that of ACTLOC_CODE."""
    from actloc.prediction.video_predictor import VideoPredictor

    parts.use_code(code)
    experiment = load(str(run), list(settings))
    task = task_of(experiment)
    return VideoPredictor(task.predictor(experiment), takes_frames=task.takes_frames)

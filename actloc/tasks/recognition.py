"""Names what trimmed clips show: an encoder with a classifier (TAM, DualFormer and others)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actloc.errors import Problem, UserError
from actloc.experiment import Experiment
from actloc.recognition.results import RecognitionResults
from actloc.recognition.settings import (
    ClipSettings,
    NetworkSettings,
    RecognitionEvaluationSettings,
    RecognitionPredictionSettings,
    TokenLabelSettings,
)
from actloc.settings import sections
from actloc.settings.sections import Section
from actloc.settings.validation import problem
from actloc.settings.yaml_text import SettingsDocument
from actloc.tasks.base import TaskConfig

if TYPE_CHECKING:
    from actloc.annotations.model import Annotations
    from actloc.encoders.base import EncoderConfig
    from actloc.reports.explanations import Explanation
    from actloc.runs.prepared import PreparedTraining
    from actloc.training.distributed import Processes


class Config(TaskConfig):
    """The task of recognisers."""

    results = RecognitionResults
    sections: ClassVar[Mapping[str, type[Section] | str]] = {
        "run": sections.RunSettings,
        "dataset": "datasets",
        "preparation": sections.PreparationSettings,
        "network": NetworkSettings,
        "clips": ClipSettings,
        "token_labels": TokenLabelSettings,
        "optimizer": sections.OptimizerSettings,
        "schedule": sections.ScheduleSettings,
        "average": sections.AverageSettings,
        "training": sections.TrainingSettings,
        "evaluation": RecognitionEvaluationSettings,
        "prediction": RecognitionPredictionSettings,
        "machine": sections.MachineSettings,
    }

    @classmethod
    def problems(cls, document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: sections or None
        """Clips that the encoder cannot take, and crops that its frames cannot have."""
        from actloc.recognition import views

        clips, evaluation = values["clips"], values["evaluation"]
        if clips is None or evaluation is None:
            return []
        encoder = clips.encoder
        steps, exact = encoder.frame_steps(), encoder.exact_frames
        found = [("clips", *misfit.split(": ", 1)) for misfit in clips.misfits(encoder.name, steps)]
        if clips.frames is None and exact is None:
            number = f"a multiple of {encoder.clip_multiple}" if encoder.clip_multiple > 1 else "a number"
            reason = f"because the encoder {encoder.name} takes clips of several lengths"
            found.append(("clips", "frames", f"found null, expected {number}, {reason}"))
        elif clips.frames is not None and exact is not None and clips.frames != exact:
            expected = f"expected {exact} or null, because the encoder {encoder.name} takes {exact} with these settings"
            found.append(("clips", "frames", f"found {clips.frames}, {expected}"))
        elif (clips.frames or exact) % encoder.clip_multiple:
            expected = f"a multiple of {encoder.clip_multiple}, which the encoder {encoder.name} takes"
            found.append(("clips", "frames", f"found {clips.frames or exact}, expected {expected}"))
        elif clips.sampling == "dense" and (clips.frames or exact) > views.SPAN_FRAMES:
            found.append(("clips", "frames", f"found {clips.frames or exact}, expected at most {views.SPAN_FRAMES}"))
        chosen = views.Views(evaluation.clips, evaluation.crops, evaluation.short_side, evaluation.crop)
        misfit = views.misfit(encoder.name, steps, chosen)
        found += [("evaluation", *misfit)] if misfit else []
        return [problem(document, (section, name), f": {what}") for section, name, what in found]

    def encoder_in(self, section: Section) -> tuple[EncoderConfig, int] | None:
        """That of the clips."""
        from actloc.encoders.base import EncoderConfig

        if not isinstance(section, ClipSettings) or not isinstance(section.encoder, EncoderConfig):
            return None
        return section.encoder, section.sampler(section.encoder.exact_frames).frames

    def after_prepare(self, experiment: Experiment, annotations: Annotations) -> str:
        """Frames are read from the videos, so nothing comes between."""
        return f"train {experiment.arguments}"

    def prepare_training(
        self, experiment: Experiment, processes: Processes, held: ExitStack, *, is_new: bool
    ) -> PreparedTraining:
        """An encoder with a classifier."""
        from actloc.recognition import training

        with _own_names():
            return training.prepare(experiment, processes, held)

    def dry_run(self, experiment: Experiment, num_processes: int) -> int:
        """The memory of a step, and anything missing."""
        from actloc.recognition import dry_run

        with _own_names():
            return dry_run.dry_run(experiment, num_processes)

    def evaluate(self, experiment: Experiment, predictions: Path | None, scores: Path | None) -> int:
        """Accuracies of a run or an official checkpoint; class scores for localization."""
        from actloc.recognition import evaluating

        if predictions is not None:
            raise UserError(
                f"--predictions {predictions} was given, and the task is recognition.",
                "Expected a run or an official checkpoint: files of predicted segments belong to localization.",
                "Remove --predictions; score an official checkpoint with evaluation.weights_file=FILE",
            )
        with _own_names():
            return evaluating.evaluate(experiment, scores)

    def predict(self, experiment: Experiment, videos: Sequence[Path], output: Path) -> int:
        """The classes of new videos."""
        from actloc.recognition import predicting

        with _own_names():
            return predicting.predict(experiment, videos, output)

    def explain(
        self,
        experiment: Experiment,
        video: Path,
        label: str | None,
        at: tuple[float, float] | None,
        layer: str | None,
        fps: float,
    ) -> Explanation:
        """Where a recogniser saw the class of a video, or of a part of it."""
        from actloc.recognition.explaining import explain_video

        with _own_names():
            return explain_video(experiment, video, label, at, layer)

    def report(self, run_folders: Sequence[Path], folder: Path) -> list[Path]:
        """Accuracies, classes, confusion."""
        from actloc.recognition import reporting

        return reporting.report(run_folders, folder)

    def to_run(self, file: Path, folder: Path, experiment: Experiment) -> Path:
        """From an official checkpoint of the encoder with its classifier."""
        from actloc.recognition import conversion

        with _own_names():
            return conversion.to_run(file, folder, experiment)

    def to_official(self, source: Path, file: Path, experiment: Experiment | None) -> None:
        """As the encoder's authors name the weights: a file for `features.encoder.weights` of other runs."""
        from actloc.recognition import conversion

        with _own_names():
            conversion.to_official(source, file)


@contextmanager
def _own_names() -> Iterator[None]:
    """Encoders name their settings as in localization; here the block is `clips.encoder`."""
    try:
        yield
    except UserError as error:
        error.found, error.expected, error.fix = (
            text.replace("features.encoder", "clips.encoder") for text in (error.found, error.expected, error.fix)
        )
        raise

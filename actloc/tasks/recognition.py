"""Names what trimmed clips show: an encoder with a classifier (TAM, DualFormer and others)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actloc.errors import Problem, UserError
from actloc.experiment import Experiment
from actloc.recognition import views
from actloc.recognition.results import SUMMARIES, RecognitionResults
from actloc.recognition.sampling import SPAN_FRAMES
from actloc.recognition.setting_names import encoder_called
from actloc.recognition.settings import (
    ClipSettings,
    NetworkSettings,
    RecognitionEvaluationSettings,
    RecognitionPredictionSettings,
    TokenLabelSettings,
)
from actloc.runs import chosen_checkpoint
from actloc.settings import sections
from actloc.settings.choices import TableForm
from actloc.settings.published import PublishedAccuracy
from actloc.settings.sections import Section
from actloc.settings.validation import problem
from actloc.settings.yaml_text import SettingsDocument
from actloc.tasks.base import TaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.annotations.model import Annotations
    from actloc.encoders.base import EncoderConfig
    from actloc.prediction.base import Predicting
    from actloc.recognition.predictor import RecognitionPredictor
    from actloc.reports.explanations import Explanation
    from actloc.reports.model_card import Contents
    from actloc.runs.prepared import PreparedTraining
    from actloc.training.distributed import Processes


class Config(TaskConfig):
    """The task of recognisers."""

    results = RecognitionResults
    takes_frames = True
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
        "published": PublishedAccuracy,
    }

    @classmethod
    def problems(cls, document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: sections or None
        """Clips that the encoder cannot take, crops that its frames cannot have, and settings without effect."""
        network, clips, evaluation = values["network"], values["clips"], values["evaluation"]
        unused = _without_effect(document, values)
        if network is None or clips is None or evaluation is None:
            return unused
        encoder = clips.encoder
        steps, exact = encoder.frame_steps(), encoder.exact_frames
        found = [("clips", *misfit.split(": ", 1)) for misfit in clips.misfits(encoder.name, steps)]
        of_encoder = getattr(encoder, "frames", None)
        if clips.frames is None and exact is None:
            multiple = f"a multiple of {encoder.clip_multiple}" if encoder.clip_multiple > 1 else "a number"
            found.append(("clips", "frames", f"found null, expected {multiple}: the encoder {encoder.name} takes any"))
        elif clips.frames is not None and exact is not None and clips.frames != exact:
            expected = f"expected {exact} or null, because the encoder {encoder.name} takes {exact} with these settings"
            found.append(("clips", "frames", f"found {clips.frames}, {expected}"))
        elif (clips.frames or exact) % encoder.clip_multiple:
            expected = f"a multiple of {encoder.clip_multiple}, which the encoder {encoder.name} takes"
            found.append(("clips", "frames", f"found {clips.frames or exact}, expected {expected}"))
        elif clips.sampling == "dense" and (clips.frames or exact) > SPAN_FRAMES:
            expected = f"expected at most {SPAN_FRAMES}, the span of a dense clip, or another clips.sampling"
            found.append(("clips", "frames", f"found {clips.frames or exact}, {expected}"))
        elif isinstance(of_encoder, int) and of_encoder != (clips.frames or exact):
            expected = f"expected {of_encoder}, the clips.encoder.frames that the weights are made for; set both"
            found.append(("clips", "frames", f"found {clips.frames or exact}, {expected} to the same number"))
        if encoder.mixes_clips:
            what = f"found {encoder.name}, which mixes neighbouring clips, expected one that sees each clip by itself"
            found.append(("clips", "encoder", f"{what}; remove its adapters, or choose another: actloc ls encoders"))
        if network.start == "random" and getattr(encoder, "weights", None) is not None:
            what = f"found random, expected file, because clips.encoder.weights={encoder.weights} would not be read"
            found.append(("network", "start", what))
        chosen = views.Views(evaluation.clips, evaluation.crops, evaluation.short_side, evaluation.crop)
        misfit = views.misfit(encoder, chosen)
        found += [("evaluation", *misfit)] if misfit else []
        return unused + [problem(document, (section, name), f": {what}") for section, name, what in found]

    def encoder_in(self, section: Section) -> tuple[EncoderConfig, int] | None:
        """That of the clips."""
        from actloc.encoders.base import EncoderConfig

        if not isinstance(section, ClipSettings) or not isinstance(section.encoder, EncoderConfig):
            return None
        return section.encoder, section.sampler(section.encoder.exact_frames).frames

    def num_classes(self, experiment: Experiment) -> int | None:
        """Those of the classifier, where the dataset has a list of its own."""
        classes = experiment.dataset.known_classes
        if classes is None:
            return None
        return 1 if experiment.dataset.class_agnostic else len(classes)

    def after_prepare(self, experiment: Experiment, annotations: Annotations) -> str:
        """Frames are read from the videos, so nothing comes between."""
        return f"train {experiment.arguments}"

    def check_training(self, experiment: Experiment, annotations: Annotations) -> None:
        """Raises UserError if the weights that the encoder starts from are missing."""
        network, clips = experiment.section("network"), experiment.section("clips")
        assert isinstance(network, NetworkSettings)
        encoder = self.encoder_in(clips)
        if network.start == "file" and encoder is not None:
            with encoder_called():
                encoder[0].require_weights()

    def prepare_training(
        self,
        experiment: Experiment,
        annotations: Annotations,
        processes: Processes,
        held: ExitStack,
        *,
        is_new: bool,
    ) -> PreparedTraining:
        """An encoder with a classifier."""
        from actloc.recognition import training

        with encoder_called():
            return training.prepare(experiment, annotations, processes, held)

    def official_weights(self, experiment: Experiment, file: Path) -> dict[str, Tensor]:
        """Raises UserError: files of encoders have a setting of their own."""
        raise UserError(
            f"training.initialise is {file}, a file of weights.",
            "Expected a run or a checkpoint of one.",
            f"Name it as the encoder's weights: clips.encoder.weights={file}",
        )

    def dry_run(self, experiment: Experiment, num_processes: int) -> int:
        """The memory of a step, and anything missing."""
        from actloc.recognition import dry_run

        with encoder_called():
            return dry_run.dry_run(experiment, num_processes)

    def evaluate(self, experiment: Experiment, predictions: Path | None, scores: Path | None) -> int:
        """Accuracies of a run or an official checkpoint; class scores for localization."""
        from actloc.recognition import checked_evaluation

        if predictions is not None:
            raise UserError(
                f"--predictions {predictions} was given, and the task is recognition.",
                "Expected a run or an official checkpoint: files of predicted segments belong to localization.",
                "Remove --predictions; score an official checkpoint with evaluation.weights_file=FILE",
            )
        with encoder_called():
            return checked_evaluation.evaluate(experiment, scores)

    def predicted_files(self, video_ids: Sequence[str]) -> list[str]:
        """Summaries of all videos."""
        return SUMMARIES

    def predicting(self, experiment: Experiment) -> Predicting:
        """The classes of new videos."""
        chosen_checkpoint.check(experiment)
        # imported after the checks, which answer faster without torch
        from actloc.recognition.predicting import NamingClasses

        with encoder_called():
            return NamingClasses(experiment)

    def predictor(self, experiment: Experiment) -> RecognitionPredictor:
        """Names the classes of one video at a time."""
        from actloc.recognition.predictor import RecognitionPredictor

        with encoder_called():
            return RecognitionPredictor(experiment)

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
        chosen_checkpoint.check(experiment)
        # imported after the checks, which answer faster without torch
        from actloc.recognition.explaining import explain_video

        with encoder_called():
            return explain_video(experiment, video, label, at, layer)

    def card(self, run: Path, checkpoint: Path) -> Contents:
        """Accuracies and how to use the run."""
        from actloc.recognition import card

        return card.contents(run, checkpoint)

    def report(self, run_folders: Sequence[Path]) -> dict[str, str]:
        """Accuracies, classes, confusion."""
        from actloc.recognition import reporting

        return reporting.report(run_folders)

    def table(self, run_folders: Sequence[Path], form: TableForm) -> str:
        """Accuracies."""
        from actloc.recognition import reporting

        return reporting.table(run_folders, form)

    def to_run(self, file: Path, folder: Path, experiment: Experiment) -> Path:
        """From an official checkpoint of the encoder with its classifier."""
        from actloc.recognition import conversion

        with encoder_called():
            return conversion.to_run(file, folder, experiment)

    def to_official(self, source: Path, file: Path, experiment: Experiment | None) -> None:
        """As the encoder's authors name the weights: a file for the setting `weights` of encoders."""
        from actloc.recognition import conversion

        with encoder_called():
            conversion.to_official(source, file)


def _without_effect(document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: sections or None
    """Settings that others make meaningless."""
    network, optimizer = values["network"], values["optimizer"]
    if network is None or optimizer is None or network.groups == "usual" or optimizer.decays == "weights":
        return []
    what = f": found {optimizer.decays}, which has no effect because network.groups is {network.groups}, which says"
    return [problem(document, ("optimizer", "decays"), f"{what} what decays; remove it")]

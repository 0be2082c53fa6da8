"""Finds when actions happen in untrimmed videos: a detector on features, or with the encoder that makes them."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actloc import console, files
from actloc.datasets.base import for_training, with_actions
from actloc.errors import Problem, UserError
from actloc.evaluation.results import Results
from actloc.experiment import Experiment
from actloc.localization.written_files import written_files
from actloc.runs import chosen_checkpoint, onnx_packages
from actloc.settings import own_code, sections
from actloc.settings.choices import TableForm
from actloc.settings.detections import FusionSettings, SuppressionSettings
from actloc.settings.published import PublishedMap
from actloc.settings.sections import Section
from actloc.settings.validation import problem
from actloc.settings.yaml_text import SettingsDocument
from actloc.tasks.base import TaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.annotations.model import Annotations
    from actloc.encoders.base import EncoderConfig
    from actloc.localization.watching import Watching
    from actloc.prediction.base import Predicting
    from actloc.reports.explanations import Explanation
    from actloc.reports.model_card import Contents
    from actloc.runs.onnx_export import WrittenNetwork
    from actloc.runs.predictor import Predictor
    from actloc.runs.prepared import PreparedTraining
    from actloc.training.distributed import Processes


class Config(TaskConfig):
    """The task of detectors."""

    results = Results
    report_files = ("report.html", "tables.md", "tables.csv", "errors.csv", "curves.csv")
    finds_actions = True
    sections: ClassVar[Mapping[str, type[Section] | str]] = {
        "run": sections.RunSettings,
        "dataset": "datasets",
        "preparation": sections.PreparationSettings,
        "features": "sources",
        "detector": "detectors",
        "optimizer": sections.OptimizerSettings,
        "schedule": sections.ScheduleSettings,
        "average": sections.AverageSettings,
        "training": sections.TrainingSettings,
        "suppression": SuppressionSettings,
        "evaluation": sections.EvaluationSettings,
        "fusion": FusionSettings,
        "prediction": sections.PredictionSettings,
        "machine": sections.MachineSettings,
        "published": PublishedMap,
    }
    usual: ClassVar[Mapping[str, str]] = {"detector": "actionformer"}  # files that only make features need not name one

    @classmethod
    def problems(cls, document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: sections or None
        """Settings that need another one: for scores of classes, for several classes, for videos and for windows."""
        listed = _without_class_scores(document, values) + _without_classes(document, values)
        return listed + _without_videos(document, values) + _without_windows(document, values)

    def encoder_in(self, section: Section) -> tuple[EncoderConfig, int] | None:
        """That of the features."""
        from actloc.sources.base import SourceConfig

        if not isinstance(section, SourceConfig) or section.encoder is None:
            return None
        return section.encoder, section.clip_frames // section.frame_interval

    def report_prepared(self, experiment: Experiment, annotations: Annotations) -> None:
        """Reports the videos without features, where features come from files; `train` skips or refuses them."""
        missing = experiment.features.without_features(annotations)
        listing = experiment.dataset.folder / "missing_features.txt"
        if not missing:
            files.remove(listing)
            return
        if len(missing) == len(annotations.videos):
            rule = f"{experiment.features.path} has none of them: check features.path, prefix and suffix"
        elif experiment.features.allow_missing:
            rule = "they are skipped and count as missed"
        else:
            rule = "`train` refuses them unless features.allow_missing=true"
        names = console.first_ten(missing)
        verb = "has" if len(missing) == 1 else "have"
        videos = console.count(len(annotations.videos), "video")
        console.say(f"{len(missing)} of {videos} {verb} no features ({rule}): {names}")
        files.write_text(listing, "".join(f"{video_id}\n" for video_id in missing))

    def after_prepare(self, experiment: Experiment, annotations: Annotations) -> str:
        """Features are extracted or imported, unless there are some or the encoder is trained too."""
        has_files = any(video.file for video in annotations.videos.values())
        needs_features = not experiment.features.trains_encoder or experiment.features.bank_store is not None
        if experiment.features.encoder and needs_features and has_files:
            return f"extract-features {experiment.arguments}"
        if experiment.dataset.has_actions:
            return f"train {experiment.arguments}"
        return shlex.join(["import-features", experiment.typed, "STORE", *experiment.overrides, *own_code.options()])

    def check_training(self, experiment: Experiment, annotations: Annotations) -> None:
        """Raises UserError if the weights of the encoder that is trained, or stored features, are missing."""
        if experiment.features.trains_encoder and experiment.features.encoder is not None:
            experiment.features.encoder.require_weights()
        used = with_actions(experiment.dataset, for_training(experiment.dataset, annotations))
        experiment.features.require_features(used, experiment.dataset.training_subset)
        if experiment.training.validation_subset:
            experiment.features.require_features(annotations, experiment.training.validation_subset)

    def prepare_training(
        self,
        experiment: Experiment,
        annotations: Annotations,
        processes: Processes,
        held: ExitStack,
        *,
        is_new: bool,
    ) -> PreparedTraining:
        """A detector, with the encoder that is trained too if there is one."""
        from actloc.localization import training

        return training.prepare(experiment, annotations, processes, held, is_new=is_new)

    def official_weights(self, experiment: Experiment, file: Path) -> dict[str, Tensor]:
        """Those of the detector, and of its encoder if the file has one and the features are encoded."""
        from actloc.runs.official import starting_weights

        return starting_weights(experiment, file)

    def dry_run(self, experiment: Experiment, num_processes: int) -> int:
        """The memory of a step, with what would need less."""
        from actloc.localization import dry_run

        return dry_run.dry_run(experiment, num_processes)

    def evaluate(self, experiment: Experiment, predictions: Path | None, scores: Path | None) -> int:
        """Average precision of a run, an official checkpoint or a file of predictions."""
        from actloc.localization import evaluating

        if scores is not None:
            raise UserError(
                f"--save-scores {scores} was given, and the task is localization.",
                "Expected a run of the task recognition, which scores the classes of videos.",
                "Remove --save-scores, or evaluate a recognition run.",
            )
        return evaluating.evaluate(experiment, predictions)

    def predicted_files(self, video_ids: Sequence[str]) -> list[str]:
        """Summaries, and the subtitles of each video."""
        return written_files(video_ids)

    def predicting(self, experiment: Experiment) -> Predicting:
        """Actions in new videos."""
        chosen_checkpoint.check(experiment)
        if not experiment.features.trains_encoder and experiment.features.encoder is not None:
            experiment.features.encoder.require_weights()
        # imported after the checks, which answer faster without torch
        from actloc.localization.predicting import FindingActions

        return FindingActions(experiment)

    def predicting_with_onnx(self, experiment: Experiment, onnx: Sequence[Path]) -> Predicting:
        """The same with networks in ONNX files."""
        chosen_checkpoint.check(experiment)
        onnx_packages.check("onnx", "onnxruntime")
        # imported after the checks, which answer faster without torch
        from actloc.localization.predicting import FindingActions

        return FindingActions(experiment, onnx)

    def export_onnx(
        self, experiment: Experiment, file: Path, num_steps: int | None, *, of_encoder: bool
    ) -> WrittenNetwork:
        """Writes the detector or the encoder as ONNX."""
        chosen_checkpoint.check(experiment)
        onnx_packages.check("onnx", "onnxruntime", "onnxscript")
        # imported after the checks, as above
        from actloc.runs import onnx_export

        if of_encoder:
            return onnx_export.export_encoder(experiment, file)
        return onnx_export.export_detector(experiment, file, num_steps)

    def watching(
        self, experiment: Experiment, file: Path, longest_action_s: float | None, every_s: float | None
    ) -> Watching:
        """Actions in a source as it comes."""
        chosen_checkpoint.check(experiment)
        if not experiment.features.trains_encoder and experiment.features.encoder is not None:
            experiment.features.encoder.require_weights()
        from actloc.localization.watching import Watching

        return Watching(experiment, file, longest_action_s, every_s)

    def predictor(self, experiment: Experiment) -> Predictor:
        """Finds actions in one video at a time."""
        from actloc.runs.predictor import Predictor

        return Predictor(experiment)

    def explain(
        self,
        experiment: Experiment,
        video: Path,
        label: str | None,
        at: tuple[float, float] | None,
        layer: str | None,
        fps: float,
    ) -> Explanation:
        """Where a detector with its encoder saw an action."""
        chosen_checkpoint.check(experiment)
        # imported after the checks, which answer faster without torch
        from actloc.runs.explaining import explain_detection

        return explain_detection(experiment, video, label, at, layer, fps)

    def card(self, run: Path, checkpoint: Path) -> Contents:
        """Average precision and how to use the run."""
        from actloc.localization import card

        return card.contents(run, checkpoint)

    def report(self, run_folders: Sequence[Path]) -> dict[str, str]:
        """Average precision, timelines and class tables."""
        from actloc.localization import reporting

        return reporting.report(run_folders)

    def table(self, run_folders: Sequence[Path], form: TableForm) -> str:
        """Average precision."""
        from actloc.localization import reporting

        return reporting.table(run_folders, form)

    def to_run(self, file: Path, folder: Path, experiment: Experiment) -> Path:
        """From the checkpoints of several detectors."""
        from actloc.runs import conversion

        return conversion.to_run(file, folder, experiment)

    def to_official(self, source: Path, file: Path, experiment: Experiment | None) -> None:
        """As ActionFormer's code reads it."""
        from actloc.runs import conversion

        conversion.to_official(source, file, experiment)


def _without_class_scores(document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: as above
    """A problem if detections are to get classes by class scores that the detector does not give."""
    fusion, detector, dataset = values["fusion"], values["detector"], values["dataset"]
    if not fusion or fusion.scores != "own":
        return []
    if detector and not detector.scores_classes:
        reason = f"a FILE, truth or null, because detector.name={detector.name} gives no class scores"
    elif dataset and dataset.class_agnostic:
        reason = "a FILE, truth or null, because dataset.class_agnostic=true leaves only one class to score"
    else:
        return []
    return [problem(document, ("fusion", "scores"), f": found own, expected {reason}")]


def _without_videos(document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: as above
    """A problem if an encoder is to make features and nothing says where the videos are."""
    features, dataset = values["features"], values["dataset"]
    if not features or not dataset or dataset.has_videos or not features.made_from_videos:
        return []
    reason = f"which features.encoder.name={features.encoder.name} needs; without videos, set features.name=folders"
    return [problem(document, ("dataset", "videos"), f"is missing, {reason}")]


def _without_classes(document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: as above
    """A problem for each changed setting about classes, where the dataset's classes are merged into one."""
    detector, dataset = values["detector"], values["dataset"]
    if not detector or not dataset or not dataset.class_agnostic:
        return []
    reason = "which has no effect because dataset.class_agnostic=true leaves only one class"
    return [
        problem(document, ("detector", name), f": found {getattr(detector, name)}, {reason}")
        for name in detector.class_settings
        if getattr(detector, name) != type(detector).model_fields[name].default
    ]


def _without_windows(document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: as above
    """A problem if suppression is to be between windows, and there is only one."""
    features, suppression = values["features"], values["suppression"]
    if not features or not suppression or suppression.method != "between_windows" or features.window_steps:
        return []
    reason = "which has no effect because features.window_steps is null; set none, or features.window_steps"
    return [problem(document, ("suppression", "method"), f": found between_windows, {reason}")]

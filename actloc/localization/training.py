"""Training a detector: the learner of a run, and what is printed about it before the first step."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.datasets.base import for_training, with_actions
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.evaluation import fusion, scoring
from actloc.experiment import Experiment
from actloc.localization.checks import check_actions, check_annotated, short_actions
from actloc.runs.localizer import LocalizationLearner, Localizer
from actloc.runs.memory_budget import Fitted, within_budget
from actloc.runs.prepared import PreparedTraining
from actloc.runs.run_bank import give_bank
from actloc.runs.trained import new_live_encoder, new_localizer
from actloc.sources.base_source import Source
from actloc.training.batch_norms import share_batch_norms
from actloc.training.distributed import Processes
from actloc.training.initialising import class_axes
from actloc.training.loader import smallest_batch
from actloc.training.modules import DETECTOR


def prepare(
    experiment: Experiment, annotations: Annotations, processes: Processes, held: ExitStack, *, is_new: bool
) -> PreparedTraining:
    """The run's learner, fitted to the memory budget; `held` closes what it needs."""
    live = new_live_encoder(experiment)
    if live is not None:
        held.callback(live.close)
    learner = _learner(experiment, annotations, live, processes, is_new=is_new)
    fitted = within_budget(experiment, learner, processes.size, is_new=is_new)
    return PreparedTraining(
        fitted.experiment,
        learner,
        network=experiment.detector.name,
        size={
            "videos": len(learner.source.videos),
            "actions": sum(len(video.actions) for video in learner.source.videos),
            "classes": len(learner.annotations.classes),
        },
        report_start=lambda: _report_start(fitted, learner),
        write_record=fitted.record,
        must_stay={
            "in_channels": "channels of the features",
            "encoder_weights_sha256": "encoder weights of the features",
        },
        class_axes=lambda: _class_axes(experiment, learner),
        read_all=lambda: _read_all(learner.source),
    )


def _read_all(source: Source) -> None:
    for index in range(0 if source.live else len(source.videos)):
        source.evaluation_sample(index)


def _class_axes(experiment: Experiment, learner: LocalizationLearner) -> dict[str, int | None]:
    """The detector's tensors whose shapes depend on the number of classes, found with one class more."""
    num_classes = len(learner.annotations.classes)
    with torch.random.fork_rng():
        larger = new_localizer(experiment, learner.source.in_channels, num_classes + 1).detector.state_dict()
    axes = class_axes(learner.detector.state_dict(), larger, num_classes)
    return {f"{DETECTOR}/{name}": axis for name, axis in axes.items()}


def _learner(
    experiment: Experiment, annotations: Annotations, live: LiveEncoder | None, processes: Processes, *, is_new: bool
) -> LocalizationLearner:
    """The learner on the training subset, with its validation; checks the features of both subsets."""
    subset = experiment.training.validation_subset
    used = with_actions(experiment.dataset, for_training(experiment.dataset, annotations))
    source = experiment.features.build(used, experiment.dataset.training_subset, live)
    check_actions(annotations, source, experiment.dataset.training_subset, experiment.dataset.evaluation_subset)
    check_annotated(experiment.detector, source)
    give_bank(experiment, source, is_new=is_new, processes=processes)
    scored = experiment.features.build(annotations, subset, live) if subset else source

    def validate(localizer: Localizer) -> dict[str, float]:
        found = localizer.detect(scored, experiment.machine.num_workers, processes)
        predictions = fusion.to_predictions(found, annotations.classes, experiment.fusion)
        return scoring.validation_scores(annotations, subset or "", predictions, experiment.evaluation)

    if scored.in_channels != source.in_channels:
        raise UserError(
            f"The features of the subset {subset!r} have {console.count(scored.in_channels, 'channel')}.",
            f"Expected {source.in_channels}, as in {experiment.dataset.training_subset!r}.",
            "Make the features of both subsets with the same encoder.",
        )
    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    if subset:  # now, and not after an epoch: the longest video may be too long for the detector
        longest = max(range(len(scored.videos)), key=lambda number: scored.videos[number].duration_s or 0.0)
        localizer.detector.padded_steps(max(one.num_steps for one in scored.evaluation_samples(longest)))
    sizes = experiment.training.batch_size, experiment.training.accumulate
    share_batch_norms(localizer.detector, processes, smallest_batch(source.num_training_samples, *sizes))
    return LocalizationLearner(localizer, source, annotations, validate, processes)


def _report_background(videos: Sequence[AnnotatedVideo], *, has_windows: bool) -> None:
    """Lists the videos without actions; `has_windows`: whether training sees something of them."""
    background = [video for video in videos if not video.actions]
    whole, partly = (
        [video.id for video in background if bool(video.annotated) == is_partly] for is_partly in (False, True)
    )
    used = "video has no actions and is used as background", "videos have no actions and are used as background"
    used_partly = (
        "video has no action in its annotated time, which is used as background",
        "videos have no action in their annotated time, which is used as background",
    )
    if not has_windows:
        used = "video has no actions and no window in an epoch", "videos have no actions and no window in an epoch"
        used_partly = used
    for ids, words in ((whole, used), (partly, used_partly)):
        if ids:
            console.say(f"{console.count(len(ids), *words)}: {console.first_ten(ids)}")


def _report_start(fitted: Fitted, learner: LocalizationLearner) -> None:
    experiment, source = fitted.experiment, learner.source
    actions = sum(len(video.actions) for video in source.videos)
    parameters = sum(parameter.numel() for parameter in learner.detector.parameters())
    console.say(
        f"{console.count(len(source.videos), 'video')} with {console.count(actions, 'action')} of "
        f"{console.count(len(learner.annotations.classes), 'class', 'classes')}; "
        f"{experiment.detector.name} with {parameters / 1e6:.2f} M parameters on {learner.localizer.device}"
    )
    if experiment.features.training_overlap is not None:
        windows = console.count(learner.num_samples, "window")
        console.say(f"An epoch has {windows} of at most {experiment.features.max_steps} steps")
    if source.live is not None:
        encoder = source.live.encoder
        learn = sum(one.numel() for one in encoder.parameters() if one.requires_grad)
        of = sum(one.numel() for one in encoder.parameters())
        console.say(f"{encoder.config.name} makes the features; {learn / 1e6:.2f} of {of / 1e6:.2f} M parameters learn")
    if fitted.line:
        console.say(fitted.line)
    accumulate, size = experiment.training.accumulate, learner.processes.size
    cuts = [f"training.accumulate={accumulate}"] * (accumulate > 1) + [f"{size} processes"] * (size > 1)
    if cuts and not learner.detector.criterion.weight_follows_from_targets:
        console.warn(
            f"With {' and '.join(cuts)} a step differs from one pass over all its videos: with these settings, "
            f"{experiment.detector.name} divides its losses by what it counts in each pass. "
            "For a larger batch, raise training.batch_size in one process instead."
        )
    too_short = short_actions(source)
    if too_short:
        console.say(too_short)
    _report_background(
        source.videos, has_windows=experiment.features.training_overlap is None or experiment.features.empty_windows
    )
    if source.missing:
        missing = [video.id for video in source.missing]
        skipped = "video has no features and is skipped", "videos have no features and are skipped"
        console.warn(f"{console.count(len(missing), *skipped)}: {console.first_ten(missing)}", ids=missing)

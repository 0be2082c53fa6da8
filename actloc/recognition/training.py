"""Training a recogniser: the learner of a run, and what is printed about it before the first step."""

from contextlib import ExitStack

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from actloc import console
from actloc.annotations.model import Annotations
from actloc.datasets.base import for_training
from actloc.experiment import Experiment
from actloc.recognition import scores
from actloc.recognition.clips import ClipSource, TrainingClips, required_clips
from actloc.recognition.learner import TOKEN_HEAD, RecognitionLearner
from actloc.recognition.mirrored_labels import are_made_up
from actloc.recognition.networks import RecognitionSections, clip_source, device_of, new_recognizer, scorer_of
from actloc.recognition.recognizer import CLASSIFIER, Recognizer
from actloc.recognition.token_labels import Annotator, require_tokens
from actloc.runs.prepared import PreparedTraining
from actloc.training.distributed import Processes


def prepare(
    experiment: Experiment, annotations: Annotations, processes: Processes, held: ExitStack
) -> PreparedTraining:
    """The run's learner; `held` closes what it needs."""
    source = clip_source(experiment)
    held.callback(source.reader.close)
    learner = new_learner(experiment, annotations, source, processes)
    heads = [name for name in (CLASSIFIER, TOKEN_HEAD) if name in learner.modules]
    class_axes = {f"{head}/{name}": 0 for head in heads for name in learner.modules[head].network.state_dict()}
    return PreparedTraining(
        experiment,
        learner,
        network=learner.recognizer.encoder.config.name,
        size={
            "videos": len({clip.video.id for clip in learner.clips.clips}),
            "clips": len(learner.clips.clips),
            "classes": len(learner.classes),
        },
        report_start=lambda: _report_start(experiment, learner),
        write_record=lambda: None,
        must_stay={
            "encoder_weights_sha256": "weights that clips.encoder starts from",
            "annotator_weights_sha256": "weights of token_labels.annotator",
        },
        class_axes=lambda: class_axes,
    )


def new_learner(
    experiment: Experiment, annotations: Annotations, source: ClipSource, processes: Processes
) -> RecognitionLearner:
    """The learner on the training subset, with its validation; reads no video."""
    sections, training = RecognitionSections.of(experiment), experiment.training
    classes = annotations.classes
    used = for_training(experiment.dataset, annotations)
    clips = required_clips(used, experiment.dataset.training_subset, "dataset.training_subset")
    subset = training.validation_subset
    scored = required_clips(annotations, subset, "training.validation_subset") if subset else []
    recognizer, device = new_recognizer(experiment, len(classes), classes), device_of(experiment)
    annotator = None
    if sections.token_labels.annotator is not None:
        require_tokens(recognizer.encoder)
        annotator = Annotator(sections.token_labels, len(classes), device)

    scorer = scorer_of(experiment, recognizer, device)

    def validate(network: Recognizer) -> dict[str, float]:
        own = processes.share(scored)
        found = scorer.scored(own, lambda clip: source.middle(clip)[None], "logits", what="validating").scores
        known = [clip for clip in own if clip.id in found]
        truth = scores.truth_table([clip.labels for clip in known], len(classes))
        rows = np.stack([found[clip.id] for clip in known]) if known else np.zeros(truth.shape)
        number = processes.total(float(len(own)))  # an unreadable clip counts as wrong
        return {f"top_{k}": processes.total(float(scores.hits(rows, truth, k).sum())) / number for k in (1, 5)}

    return RecognitionLearner(
        recognizer,
        TrainingClips(source, clips, classes, sections.clips, allow_missing=sections.clips.allow_missing),
        classes,
        validate,
        groups=sections.network.groups,
        precision=training.precision,
        annotator=annotator,
        processes=processes,
    )


def _report_start(experiment: Experiment, learner: RecognitionLearner) -> None:
    clips = learner.clips.clips
    videos = len({clip.video.id for clip in clips})
    encoder = learner.recognizer.encoder
    parameters = sum(one.numel() for one in learner.recognizer.parameters())
    learn = sum(one.numel() for trained in learner.modules.values() for one in trained.network.parameters())
    counted = console.count(len(clips), "clip")
    counted += "" if videos == len(clips) else f" of {console.count(videos, 'video')}"
    console.say(
        f"{counted} of {console.count(len(learner.classes), 'class', 'classes')}; {encoder.config.name} with "
        f"{parameters / 1e6:.2f} M parameters on {encoder.device}"
    )
    if learn != parameters:
        console.say(f"With the classifier of tokens, {learn / 1e6:.2f} M parameters are trained")
    present = {label for clip in clips for label in clip.labels}
    absent = [name for number, name in enumerate(learner.classes) if number not in present]
    if absent:
        verb = "class has", "classes have"
        console.warn(f"{console.count(len(absent), *verb)} no training clip: {console.first_ten(absent)}")
    mirror = RecognitionSections.of(experiment).clips.mirror
    if mirror > 0 and "classes" in type(experiment.dataset).model_fields and are_made_up(learner.classes):
        console.warn(
            f"clips.mirror is {mirror:g}, and the classes have no names ({learner.classes[0]} ...): no label changes "
            "where left and right do. If classes differ in left and right, set dataset.classes=FILE, or clips.mirror=0"
        )
    accumulate, size = experiment.training.accumulate, learner.processes.size
    cuts = [f"training.accumulate={accumulate}"] * (accumulate > 1) + [f"{size} processes"] * (size > 1)
    learning = [one for one in learner.recognizer.train().modules() if isinstance(one, _BatchNorm) and one.training]
    if cuts and learning:
        console.warn(
            f"With {' and '.join(cuts)} a step differs from one pass over all its clips: batch norms use the "
            "statistics of each pass. For a larger batch, raise training.batch_size."
        )

"""`train --dry-run` of a recogniser: the memory that a training step needs, and anything missing; writes nothing."""

import copy
from contextlib import ExitStack
from dataclasses import asdict, replace

import torch
from rich.table import Table
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from actloc import console
from actloc.annotations.model import Annotations
from actloc.datasets.base import read_prepared
from actloc.devices import choose_device
from actloc.end_to_end.memory import LiveBytes
from actloc.errors import UserError, VideoError
from actloc.experiment import Experiment
from actloc.recognition.clips import ClipSource, labelled_clips
from actloc.recognition.learner import RecognitionLearner
from actloc.recognition.networks import RecognitionSections, clip_source
from actloc.recognition.setting_names import encoder_called
from actloc.recognition.training import new_learner
from actloc.runs.training_memory import megabytes
from actloc.settings import own_code
from actloc.structures import Batch, Grid, Sample, Targets
from actloc.training.distributed import ALONE
from actloc.training.memory import DetectorBytes, EncoderPart, StepBytes, step_bytes

_PARTS = {
    "weights": "weights",
    "averages": "averaged weights",
    "optimizer": "optimizer state",
    "gradients": "gradients",
    "detector": "clips and activations",
}
"""The parts of `StepBytes` that a recogniser has, in words."""


def dry_run(experiment: Experiment, num_processes: int) -> int:
    """Reports the memory of each process, and anything missing, with exit status 2."""
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    subsets = [experiment.dataset.training_subset, experiment.training.validation_subset]
    missing: list[str] = []
    step = None
    with ExitStack() as held:
        source = clip_source(experiment)
        held.callback(source.reader.close)
        videos = {
            clip.video.id: clip.video for subset in subsets if subset for clip in labelled_clips(annotations, subset)
        }
        absent = [one.id for one in videos.values() if one.file is None or not one.file.exists()]
        if absent and not (RecognitionSections.of(experiment).clips.allow_missing and len(absent) < len(videos)):
            missing.append(f"the files of {console.count(len(absent), 'video')}: {console.first_ten(absent)}")
        try:
            try:
                learner = _learner(experiment, annotations, source)
            except UserError as error:
                missing.append(_message(experiment, error))
                without = {**experiment.sections["network"].model_dump(), "start": "random", "classifier": "new"}
                network = type(experiment.sections["network"]).model_validate(without)
                learner = _learner(experiment.with_section("network", network), annotations, source)
            present = next((video for video in videos.values() if video.file and video.file.exists()), None)
            shape = None if present is None else source.times(present).frame_shape
        except (UserError, VideoError) as error:
            shape = None
            if not isinstance(error, UserError) or _message(experiment, error) not in missing:
                missing.append(str(error))
        if shape is not None:
            step = _step_bytes(experiment, learner, (source.sampling.frames, *shape), num_processes)
    if step is not None:
        _report(experiment, step)
    for problem in missing:
        console.result(f"Missing: {problem}")
    console.emit("plan", **({} if step is None else {"bytes": asdict(step)}), missing=missing)
    return UserError.status if missing else 0


def _learner(experiment: Experiment, annotations: Annotations, source: ClipSource) -> RecognitionLearner:
    """As training has it; its errors are reported, and do not end the command, so settings are named here."""
    with encoder_called():
        return new_learner(experiment, annotations, source, ALONE)


def _message(experiment: Experiment, error: UserError) -> str:
    error.name_config(experiment.typed, [*experiment.overrides, *own_code.options()])
    return str(error)


def _step_bytes(
    experiment: Experiment, learner: RecognitionLearner, shape: tuple[int, ...], num_processes: int
) -> StepBytes:
    """The bytes of a step on clips (F, H, W, c) of this shape, measured on tensors that have no values."""
    training = experiment.training
    share = min(-(-training.batch_size // num_processes), learner.num_samples)
    without_values = FakeTensorMode(allow_non_fake_inputs=True)
    networks = [trained.network for trained in learner.modules.values()]
    labelling = [] if learner.annotator is None else _tensors_of(learner.annotator.recognizer)
    tensors = {id(one): one for network in networks for one in _tensors_of(network)}
    replaced = {number: without_values.from_tensor(one) for number, one in tensors.items()}
    own = copy.copy(learner)
    own.recognizer, own.token_head = copy.deepcopy((learner.recognizer, learner.token_head), dict(replaced))
    for network in (own.recognizer, own.token_head):
        if network is not None:
            network.train()
    clips = torch.zeros((shape[-1], *shape[:-1]), dtype=torch.uint8)
    one = Sample("", clips, Targets(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)), Grid(1, 1, 0))
    batch = Batch((one,) * share)
    counted = LiveBytes([*replaced.values(), *labelling, clips])
    before = counted.now
    with without_values, counted:
        for _ in range(min(training.accumulate, 2)):
            counted.restart()
            given = own.features(batch)  # which stay until the backward pass is over
            losses = own.losses(*given, batch)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = sum(one.nbytes for network in networks for one in network.parameters() if one.requires_grad)
    # the clips of the whole step are loaded before it
    loaded = training.accumulate * share * clips.nbytes if learner.recognizer.encoder.device.type == "cpu" else 0
    needed = DetectorBytes(0, loaded + counted.peak - before, gradients)
    step = step_bytes(
        learner.modules,
        needed,
        EncoderPart(),
        experiment.optimizer,
        accumulate=training.accumulate,
        num_processes=num_processes,
    )
    annotator = LiveBytes(labelling).now
    return replace(step, weights=step.weights + annotator, peak=step.peak + annotator)


def _tensors_of(network: nn.Module) -> list[Tensor]:
    """Its weights and buffers."""
    return [*network.parameters(), *network.buffers()]


def _report(experiment: Experiment, step: StepBytes) -> None:
    numbers = asdict(step)
    table = Table("memory of a training step", "MB", box=None)
    table.columns[1].justify = "right"
    for name, words in _PARTS.items():
        table.add_row(words, megabytes(numbers[name]))
    table.add_row("at most at the same time", megabytes(step.peak), style="bold")
    console.result_table(table)
    console.result("MB are 2^20 bytes of tensors.")
    if not RecognitionSections.of(experiment).network.checkpoint_blocks:
        console.result("network.checkpoint_blocks=true needs less memory and more time.")
    device = choose_device(experiment.machine.device)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device).total_memory
        console.result(f"The GPU has {megabytes(card)} MB; torch's own libraries take some hundred of them.")

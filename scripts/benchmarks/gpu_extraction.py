"""Feature extraction on a GPU, for `scripts/bench gpu`: networks on clips in memory, and whole videos from their files.

Networks have random weights, which do not affect their speed.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actloc import experiment as experiments
from actloc.encoders.base_network import ClipEncoder, ready
from actloc.errors import VideoError
from actloc.experiment import Experiment
from actloc.extraction.local import encode_videos, num_decoders
from actloc.extraction.rows import RowsInFile
from actloc.layers.precision import computing_in
from actloc.settings.sections import MachineSettings
from scripts.benchmarks.counting import forward_flops
from scripts.benchmarks.device_time import Costs, measured, timed_work
from scripts.benchmarks.extraction import make_video
from scripts.benchmarks.gpu_steps import Row

BATCHES = 8, 32
WAYS = {
    "float32": (),
    "bfloat16": ("precision=bfloat16",),
    "bfloat16, channels last": ("precision=bfloat16", "channels_last=true"),
}
"""Settings of the encoder; in float32 extraction lets no convolution round to tf32."""
VIDEOS = {"240p": ("320x240", 60.0), "720p": ("1280x720", 10.0)}
TOY_VIDEOS = {"toy": ("64x48", 1.2)}
NUM_VIDEOS = 30
IN_FLOAT32 = "R(2+1)D-34"
"""The case whose videos are also encoded in float32, and from both sizes: each takes its time."""


@dataclass(frozen=True)
class Case:
    """A recipe, and the side of the pictures that its network sees."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    side: int

    def experiment(self, way: str) -> Experiment:
        """The recipe in one of `WAYS`."""
        return experiments.load(self.recipe, [*self.overrides, *(f"features.encoder.{one}" for one in WAYS[way])])


CASES = (
    Case("R(2+1)D-34", "tsp_anet", (), 112),
    Case("I3D RGB", "i3d_anet", ("features.encoder.stream=rgb",), 224),
    Case("VideoMAE v2 base", "videomae2_s16", ("features.encoder.size=base",), 224),
)
TOY_CASE = Case("EfficientNet-Lite0, toy", "own_videos", (), 32)


def _encoder(experiment: Experiment, device: torch.device) -> ClipEncoder:
    encoder = ready(experiment.features.encoder.network(), device)  # type: ignore[union-attr]
    return encoder.requires_grad_(False)  # else operations cannot be counted in inference mode


def networks_alone(device: torch.device, repeats: int, *, toy: bool) -> Iterator[Row]:
    """Each network on clips of noise that are on the device already."""
    for case in (TOY_CASE,) if toy else CASES:
        for way in WAYS:
            experiment = case.experiment(way)
            encoder, precision = _encoder(experiment, device), experiment.features.encoder.precision  # type: ignore[union-attr]
            for batch in (1,) if toy else BATCHES:
                shape = (batch, experiment.features.clip_frames, case.side, case.side, 3)
                clips = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)

                def encode(encoder: ClipEncoder = encoder, clips: Tensor = clips, precision: str = precision) -> None:
                    with torch.inference_mode(), computing_in(precision, device):
                        encoder.encode(clips)

                gflop = forward_flops(encode) / 1e9
                costs = measured(encode, device, repeats)
                yield Row(f"{case.name}, {batch} clips of {case.side} pixels", way, costs, gflop, batch)


def whole_videos(device: torch.device, folder: Path, *, toy: bool) -> Iterator[Row]:
    """Clips of many videos at once, from their files to their features, and the same with a network that does nothing.

    `folder` has the videos, or gets them. Time is that on the clock, while the profiler notes what the GPU does.
    """
    machine = MachineSettings(device=device.type)
    sizes, cases = (TOY_VIDEOS, [TOY_CASE]) if toy else (VIDEOS, list(CASES))
    for size, (pixels, seconds) in sizes.items():
        video = make_video(folder / f"{size}_{seconds:g}.mp4", pixels, seconds)
        videos = _copies(video, folder / size, 1 if toy else NUM_VIDEOS)
        for case in cases:
            name = f"{len(videos)} x {seconds:g} s of {size}, {num_decoders(machine)} decoders, {case.name}"
            for way in (
                ("float32", "bfloat16, channels last") if case.name == IN_FLOAT32 else ("bfloat16, channels last",)
            ):
                experiment = case.experiment(way)
                yield _videos(f"{name}: features", way, _encoder(experiment, device), experiment, videos, machine)
            idle = _idle(_encoder(experiment, device))
            yield _videos(f"{name}: decoding alone", "-", idle, experiment, videos, machine)
        cases = [case for case in cases if case.name == IN_FLOAT32]


def _copies(video: Path, folder: Path, number: int) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return {f"v{place:03d}": Path(shutil.copyfile(video, folder / f"v{place:03d}.mp4")) for place in range(number)}


def _idle(encoder: ClipEncoder) -> ClipEncoder:
    def encode(clips: Tensor) -> Tensor:
        frames = clips.shape[1]
        return torch.zeros(len(clips), encoder.channels, encoder.vectors_per_clip(frames), device=clips.device)

    encoder.encode = encode  # type: ignore[method-assign]
    return encoder


def _videos(
    name: str,
    way: str,
    encoder: ClipEncoder,
    experiment: Experiment,
    videos: dict[str, Path],
    machine: MachineSettings,
) -> Row:
    def extract(some: dict[str, Path]) -> int:
        num_rows = 0
        with ExitStack() as held:
            sinks = {video_id: held.enter_context(RowsInFile()) for video_id in some}
            encoded = encode_videos(some, encoder, experiment.features.spacing, machine, sinks.__getitem__)
            for _, outcome in encoded:
                if isinstance(outcome, VideoError):
                    raise outcome
                num_rows += outcome.steps
        return num_rows

    device = encoder.device
    extract(dict(list(videos.items())[:1]))  # libraries load, and the memory has its final size
    seconds, rows, work = timed_work(lambda: extract(videos), device)
    return Row(name, way, Costs(1000 * seconds, 1000 * seconds, work), items=rows)

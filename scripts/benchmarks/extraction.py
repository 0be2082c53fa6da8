"""The table of `scripts/bench extract`: decoding alone, the network alone, both together, for each encoder.

One thread decodes, in its own process, and one computes (or `--threads`), so both together should take little longer
than the slower of the two. Beside them is the plainest loop: one process that decodes a batch, then encodes it with all
threads, and so on. Networks have random weights, which do not affect their speed.
"""

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from actloc.encoders.base_network import ClipEncoder
    from actloc.experiment import Experiment
    from actloc.video.windows import ClipSpacing

SIZES = {"240p": "320x240", "1080p": "1920x1080"}
FPS = 30
MOST_OVERLAP = 1.25
"""The limit of decoding and network together, as a multiple of the slower one."""
TINY_MODEL = Path(__file__).parents[2] / "actloc/encoders/huggingface/small"
"""Of which the table shows what decoding and pooling cost; published models are as fast as their size allows."""
SECONDS_OF_FLOW = 0.7  # TV-L1 takes up to a second per frame


@dataclass(frozen=True)
class Case:
    """A recipe, changed so that a CPU can run it, and the length of its video."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    seconds: float


CASES = (
    Case("EfficientNet-Lite0", "own_videos", (), 60.0),
    Case("I3D RGB", "i3d_anet", ("features.encoder.stream=rgb",), 8.0),
    Case("I3D RGB and TV-L1 flow", "i3d_thumos", (), SECONDS_OF_FLOW),
    Case("R(2+1)D-34", "tsp_anet", (), 12.0),
    Case("SlowFast R50", "slowfast_epic", (), 6.0),
    Case("VideoMAE v2 base", "videomae2_s16", ("features.encoder.size=base",), 3.0),
    Case("Hugging Face, a tiny V-JEPA 2", "own_videos_huggingface", (f"features.encoder.model={TINY_MODEL}",), 60.0),
)


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of the processor, processes that it started included."""

    wall_s: float
    processor_s: float

    def least(self, other: "Spent") -> "Spent":
        """The smaller of both numbers: other programs only ever add to them."""
        return Spent(min(self.wall_s, other.wall_s), min(self.processor_s, other.processor_s))


@dataclass(frozen=True)
class Rates:
    """One case on a video of one size."""

    case: str
    size: str
    video_s: float
    items: int
    """Inputs of the network: clips, or frames if it works frame by frame."""
    decoding: Spent
    network: Spent
    both: Spent
    loop: Spent
    """Of the plainest loop."""
    decodes_per_frame: float
    flows_per_pair: float | None
    """None without TV-L1."""

    @property
    def overlap(self) -> float:
        """Time of both together, as a multiple of the slower one."""
        return self.both.wall_s / max(self.decoding.wall_s, self.network.wall_s)

    @property
    def processor_overlap(self) -> float:
        """Processor time of both together, as a multiple of the slower one."""
        return self.both.processor_s / max(self.decoding.processor_s, self.network.processor_s)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench extract", description="Measure rates and memory of feature extraction."
    )
    parser.add_argument("--only", metavar="NAME", help="measure only the cases whose names contain NAME")
    parser.add_argument("--quick", action="store_true", help="use videos of a sixth of the length, for a first look")
    parser.add_argument(
        "--toy", action="store_true", help="use videos of a thirtieth: only to see that everything runs"
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="skip measuring the memory for 1 minute and 1 hour of video"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the network; one decodes")
    parser.add_argument("--repeat", type=int, default=1, help="measure this many times in turn, and keep the best")
    parser.add_argument("--output", type=Path, default=Path("ckpt/bench_extract.json"), help="the JSON file to write")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when torch is imported
    from rich.console import Console

    from actloc import files
    from scripts.benchmarks.results import processor

    console = Console(stderr=True)
    share = 1 / 30 if options.toy else 1 / 6 if options.quick else 1.0
    named = [case for case in CASES if (options.only or "").lower() in case.name.lower()]
    cases = [replace(case, seconds=case.seconds * share) for case in named]
    with tempfile.TemporaryDirectory(prefix="actloc-bench-") as folder:
        rates = []
        for case in cases:
            for size in SIZES:
                with console.status(f"{case.name}, {size}"):
                    rates.append(measured(case, size, Path(folder), options.threads, options.repeat))
        with console.status("memory"):
            memory = {} if options.no_memory else memory_mb(Path(folder))
    on_gpu = gpu_rates()
    _print(rates, memory, on_gpu, options.threads)
    files.write_json(
        options.output,
        {
            "version": 2,
            "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": options.threads},
            "rates": [
                {**asdict(one), "overlap": one.overlap, "processor_overlap": one.processor_overlap} for one in rates
            ],
            "memory_mb": memory,
            "gpu_clips_per_s": on_gpu,
        },
    )
    console.print(f"Wrote {options.output}")


def measured(case: Case, size: str, folder: Path, threads: int, repeat: int) -> Rates:
    """Decoding alone, the network alone, both together, and the plainest loop, in turn."""
    import torch

    from actloc.encoders.base_network import ready
    from actloc.extraction.batches import BatchedNetwork, workers
    from actloc.extraction.decoded import DecodedVideo
    from actloc.extraction.local import encode_into
    from actloc.extraction.rows import RowsInFile
    from actloc.settings.sections import MachineSettings

    torch.set_num_threads(threads)
    machine = MachineSettings(device="cpu", decoders=1)
    experiment = _experiment(case)
    spacing = experiment.features.spacing
    encoder = ready(experiment.features.encoder.network(), torch.device("cpu"))  # type: ignore[union-attr]
    video = make_video(folder / f"{size}_{case.seconds:g}.mp4", SIZES[size], case.seconds)
    items: list[NDArray[Any]] = []
    decodes = 0.0

    def decode() -> None:
        nonlocal decodes
        decoded = DecodedVideo(video, encoder, spacing, machine, lambda: None)
        items[:] = decoded
        decoded.close()
        decodes = decoded.summary.frames_decoded / round(case.seconds * FPS)

    def encode() -> None:
        with workers("cpu") as pool:
            network = BatchedNetwork(encoder, spacing, machine, pool)
            network.add(_Receiver(), items)
            network.finish()

    def both() -> None:
        with RowsInFile() as rows:
            encode_into(rows, video, encoder, spacing, machine)

    def loop() -> None:
        network = BatchedNetwork(encoder, spacing, machine)
        for item in decoded_here(video, encoder, spacing):
            network.add(_Receiver(), [item])
        network.finish()

    warm = BatchedNetwork(encoder, spacing, machine)
    warm.add(_Receiver(), list(itertools.islice(decoded_here(video, encoder, spacing), 1)))
    warm.finish()
    parts = decode, encode, both, loop
    best = [spent(part) for part in parts]
    for _ in range(1, repeat):
        best = [before.least(spent(part)) for before, part in zip(best, parts, strict=True)]
    return Rates(case.name, size, case.seconds, len(items), *best, decodes, flows_per_pair(experiment))


def spent(work: Callable[[], None]) -> Spent:
    """What the work takes."""

    def processor_s() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    started, before_s = time.perf_counter(), processor_s()
    work()
    return Spent(time.perf_counter() - started, processor_s() - before_s)


def decoded_here(path: Path, encoder: "ClipEncoder", spacing: "ClipSpacing") -> "Iterator[NDArray[Any]]":
    """The items of `DecodedVideo`, decoded in this process when they are asked for."""
    from actloc.extraction.decoded import thinned
    from actloc.video import decode
    from actloc.video.readers import pyav
    from actloc.video.readers.base import DecodingStats
    from actloc.video.windows import Picking

    stats = DecodingStats()
    fps, decode_fps = decode.rates(pyav, path, spacing.fps, spacing.decode_fps, lambda: None)
    pictures, picking = decode.resampled(pyav.pictures(path, stats), stats, decode_fps), None
    if (decode_fps / fps).denominator == 1:
        pictures = decode.every(int(decode_fps / fps), pictures)
    else:
        picking = Picking(float(decode_fps), float(fps))
    shown = decode.after_steps(((picture.frame, count) for picture, count in pictures), encoder.config.frame_steps())
    frames = encoder.frames(frame for frame, count in shown for _ in range(count))
    if encoder.is_framewise:
        yield from frames
        return
    windower = spacing.windower(lambda: picking)
    for frame in frames:
        yield from thinned(windower.add(frame), spacing.frame_interval)
    yield from thinned(windower.end(), spacing.frame_interval)


def _experiment(case: Case) -> "Experiment":
    from actloc import experiment

    return experiment.load(case.recipe, list(case.overrides))


class _Receiver:
    def receive(self, vector: object) -> None:
        """Ignores the vector."""


def flows_per_pair(experiment: "Experiment") -> float | None:
    """How many times TV-L1 runs for each pair of neighbouring frames, counted in this process; None without TV-L1."""
    import numpy as np

    from actloc.video import frame_transforms

    steps = experiment.features.encoder.frame_steps()  # type: ignore[union-attr]
    flow = next((step for step in steps if isinstance(step, frame_transforms.OpticalFlow)), None)
    if flow is None:
        return None
    calls = 0
    estimator = frame_transforms._tvl1

    def counted() -> Any:  # Any: an estimator of flow
        estimate = estimator()

        def count(*pair: Any) -> Any:  # Any: arrays
            nonlocal calls
            calls += 1
            return estimate(*pair)

        return count

    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 3), np.uint8)
    frame_transforms._tvl1 = counted
    try:
        items = sum(count for _, count in flow.over((frame, 1) for frame in frames))
    finally:
        frame_transforms._tvl1 = estimator
    return calls / items


def memory_mb(folder: Path) -> dict[str, float]:
    """The largest process of an extraction of 1 minute and of 1 hour of video, in MB."""
    sizes = {}
    for name, seconds in (("1 min", 60.0), ("1 h", 3600.0)):
        videos = folder / name.replace(" ", "_")
        make_video(videos / "v.mp4", "64x48", seconds, fps=10)
        code = (
            "import resource, subprocess, sys\n"
            "done = subprocess.run([sys.executable, '-m', 'actloc', 'extract-features', *sys.argv[1:]])\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
            "sys.exit(done.returncode)\n"
        )
        settings = ["dataset.name=video_folder", f"dataset.videos={videos}", f"dataset.folder={videos}/prepared"]
        settings += ["features.encoder.name=color", f"features.path={videos}/features", "features.stride_frames=1"]
        command = [sys.executable, "-c", code, _plain_config(folder), *settings]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        unit = 1024 if sys.platform == "darwin" else 1
        sizes[name] = int(done.stdout.split()[-1]) / 1024 / unit
    return sizes


def _plain_config(folder: Path) -> str:
    path = folder / "plain.yaml"
    path.write_text(
        "dataset: {name: video_folder}\n"
        "features: {name: stored, encoder: {name: color}, fps: 10, clip_frames: 2, stride_frames: 2}\n"
    )
    return str(path)


def gpu_rates() -> dict[str, float]:
    """Clips per second of I3D and R(2+1)D-34 in bfloat16 on a GPU, by CUDA events; empty where there is none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    rates = {}
    for case in (case for case in CASES if case.name in ("I3D RGB", "R(2+1)D-34")):
        experiment = _experiment(
            Case(
                case.name,
                case.recipe,
                (*case.overrides, "features.encoder.precision=bfloat16", "features.encoder.channels_last=true"),
                0,
            )
        )
        rates[case.name] = _gpu_rate(experiment, torch.device("cuda"))
    return rates


def _gpu_rate(experiment: "Experiment", device: "torch.device") -> float:
    import torch

    from actloc.encoders.base_network import ready
    from actloc.layers.precision import computing_in
    from scripts.benchmarks.results import best_seconds

    encoder = ready(experiment.features.encoder.network(), device)  # type: ignore[union-attr]
    batch, side = 32, 224 if experiment.features.encoder.name == "i3d" else 112  # type: ignore[union-attr]
    clips = torch.randint(0, 256, (batch, experiment.features.clip_frames, side, side, 3), device=device).float()

    def encode() -> None:
        with torch.inference_mode(), computing_in("bfloat16", device):
            encoder.encode(clips)

    return batch / best_seconds(encode, 5, device)


def make_video(path: Path, size: str, seconds: float, fps: int = FPS) -> Path:
    """A moving test picture in H.264; an existing file is kept."""
    from actloc.video.base import find_ffmpeg

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = f"testsrc2=s={size}:r={fps}:d={seconds}"
        encoding = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast"]
        command = [find_ffmpeg(), "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, *encoding, str(path)]
        subprocess.run(command, check=True)
    return path


def _print(rates: list[Rates], memory: dict[str, float], on_gpu: dict[str, float], threads: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from actloc.console import count
    from scripts.benchmarks.results import processor

    title = f"Extraction, one thread decoding and {count(threads, 'thread')} computing, float32, on {processor()}: "
    table = Table(title=f"{title}seconds by the clock (and of the processor)")
    ratios = "both / slower", "decodes/frame", "flows/pair"
    for name in ("encoder", "video", "decoding", "network", "both", "plainest loop", *ratios):
        table.add_column(name, justify="left" if name in ("encoder", "video") else "right")
    for one in rates:
        flows = "-" if one.flows_per_pair is None else f"{one.flows_per_pair:g}"
        parts = one.decoding, one.network, one.both, one.loop
        seconds = (f"{part.wall_s:.2f} ({part.processor_s:.2f})" for part in parts)
        mark = "" if one.overlap <= MOST_OVERLAP else " !"
        overlap = f"{one.overlap:.2f} ({one.processor_overlap:.2f}){mark}"
        video = f"{one.size}, {one.video_s:g} s, {one.items} items"
        table.add_row(one.case, video, *seconds, overlap, f"{one.decodes_per_frame:g}", flows)
    console = Console(width=max(Console().width, 160))
    console.print(table)
    for name, value in memory.items():
        console.print(f"largest process while extracting {name} of video: {value:.0f} MB")
    for name, value in on_gpu.items():
        console.print(f"{name}, bfloat16 on the GPU: {value:.1f} clips per second")


if __name__ == "__main__":
    main()

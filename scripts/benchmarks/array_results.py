"""Suppression, mAP and the feature store: CPU times on random arrays."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.detection import average_precision
from actloc.evaluation.error_analysis.analysis import analyse_columns
from actloc.evaluation.error_analysis.subset import Subset
from actloc.ops.suppression import soft_suppression, soft_suppression_per_class, weighted_suppression_per_class
from actloc.settings.choices import Dtype
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.results import Result, best_seconds

VIDEO_STEPS, VIDEO_CHANNELS = 1900, 2048
SUPPRESSION = ((2_000, 1.6), (12_000, 9.4), (400_000, 6100.0))  # candidates in 20 classes, official ms
Segments = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def results(effort: Effort) -> list[Result]:
    """All results that need no network."""
    return [*_suppression(effort), *_scoring(effort), *_loading(3 * effort.repeats)]


def _candidates(number: int, classes: int) -> Segments:
    """Segments of a THUMOS video, most of them short and of low score."""
    generator = np.random.default_rng(0)
    starts = generator.random(number, dtype=np.float32) * 2304
    lengths = generator.exponential(20, number).astype(np.float32) + 1
    scores = generator.random(number, dtype=np.float32) ** 4
    return np.stack((starts, starts + lengths), axis=1), scores, generator.integers(classes, size=number)


def _suppression_of(number: int, official_ms: float, repeats: int) -> Result:
    segments, scores, labels = _candidates(number, 20)

    def suppress() -> object:
        return soft_suppression_per_class(segments, scores, labels, sigma=0.5, min_score=0.001, max_kept=200)

    milliseconds = 1000 * best_seconds(suppress, repeats)
    return Result(f"soft-NMS, {number:,} in 20 classes, 200 kept", milliseconds, "ms", official_ms)


def _suppression(effort: Effort) -> list[Result]:
    repeats = 3 * effort.repeats
    rows = [_suppression_of(effort.of(number), official_ms, repeats) for number, official_ms in SUPPRESSION]
    number = effort.of(12_000)
    segments, scores, _ = _candidates(number, 1)
    seconds = best_seconds(
        lambda: soft_suppression(segments, scores, sigma=0.75, min_score=0.001, max_kept=100), repeats
    )
    rows.append(Result(f"soft-NMS, {number:,} in one class, 100 kept", 1000 * seconds, "ms", 45.6))
    segments, scores, labels = _candidates(number, 20)
    seconds = best_seconds(
        lambda: weighted_suppression_per_class(segments, scores, labels, tiou=0.5, min_score=0.005, max_kept=1200),
        repeats,
    )
    return [*rows, Result(f"weighted NMS, {number:,} in 20 classes, 1,200 kept", 1000 * seconds, "ms")]


def _scored(videos: int, classes: int, truths: int) -> tuple[TruthColumns, PredictionColumns]:
    """200 predictions per video, each near one of its actions; half of them of that action's class, others random."""
    generator = np.random.default_rng(0)
    of_truth = np.sort(np.append(np.arange(videos), generator.integers(videos, size=truths - videos)))
    starts = generator.random(truths) * 100
    ends = starts + 1 + generator.exponential(10, truths)
    labels = generator.integers(classes, size=truths)
    rows = 200 * videos
    of_row = np.repeat(np.arange(videos), 200)
    first = np.searchsorted(of_truth, of_row)
    number = np.searchsorted(of_truth, of_row, side="right") - first
    aim = first + (generator.random(rows) * number).astype(np.int64)
    found_starts = starts[aim] + generator.normal(0, 3, rows)
    found_ends = found_starts + (ends - starts)[aim] * np.exp(generator.normal(0, 0.3, rows))
    found_labels = np.where(generator.random(rows) < 0.5, labels[aim], generator.integers(classes, size=rows))
    truth = TruthColumns(of_truth, starts, ends, labels)
    return truth, PredictionColumns(of_row, found_starts, found_ends, found_labels, generator.random(rows))


def _scoring(effort: Effort) -> list[Result]:
    few, many = effort.of(213), effort.of(5_000)
    thumos, anet = _scored(few, 20, effort.of(3_678)), _scored(many, 200, effort.of(7_500))
    tenths = np.linspace(0.5, 0.95, 10).tolist()
    small = best_seconds(lambda: average_precision(*thumos, [0.3, 0.4, 0.5, 0.6, 0.7]), effort.repeats)
    large = best_seconds(lambda: average_precision(*anet, tenths), effort.repeats)
    analysed = effort.of(1_000)
    errors = _error_seconds(analysed, effort)
    return [
        Result(f"error analysis, {analysed:,} videos x 200, 20 classes, 10 tIoUs", errors, "s"),
        Result(f"mAP, {few:,} videos x 200, 20 classes, 5 tIoUs", small, "s", 11.5),
        Result(f"mAP, {many:,} videos x 200, 200 classes, 10 tIoUs", large, "s", 172),
    ]


def _error_seconds(videos: int, effort: Effort) -> float:
    """As many actions for each video as THUMOS14 has."""
    truth, predictions = _scored(videos, 20, 17 * videos)
    names = [str(number) for number in range(videos)]
    labels = [str(number) for number in range(20)]
    subset = Subset(names, labels, 20, np.full(videos, 200.0), truth, predictions)
    tenths = np.linspace(0.5, 0.95, 10).tolist()
    return best_seconds(lambda: analyse_columns(subset, tenths, "thumos14"), effort.repeats)


def _loading(repeats: int) -> list[Result]:
    features = np.random.default_rng(0).standard_normal((VIDEO_STEPS, VIDEO_CHANNELS), dtype=np.float32)
    return [_loading_time(features, "float16", repeats), _loading_time(features, "float32", repeats)]


def _loading_time(features: NDArray[np.float32], dtype: Dtype, repeats: int) -> Result:
    info = FeatureInfo(
        video_id="video",
        encoder="noise",
        weights_sha256=None,
        recipe="{}",
        fps=30.0,
        clip_frames=16,
        stride_frames=4,
        align="valid",
        offset_frames=8.0,
        frame_count=4 * VIDEO_STEPS + 12,
        duration_s=VIDEO_STEPS / 7.5,
        reader="none",
        source_bytes=0,
        source_sha256="",
        code_version="",
    )
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        store.begin({})
        store.write("video", features, info, dtype)

        def load() -> torch.Tensor:
            return torch.from_numpy(store.read("video")).T.contiguous()

        seconds = best_seconds(load, repeats)
    note = "ours: checksums, finiteness and transpose included; official: reading .npy alone"
    return Result(f"loading a video, {VIDEO_STEPS:,} x {VIDEO_CHANNELS}, {dtype}", 1000 * seconds, "ms", 1.5, note)

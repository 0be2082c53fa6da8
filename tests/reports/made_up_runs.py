"""Made-up runs of 10 tIoUs with long names, many classes and many videos, as pages have to show them."""

import random
from pathlib import Path

from actloc.evaluation.predictions import Prediction, Predictions, write_predictions
from actloc.evaluation.results import Counts, Results, Threshold, TrainedRun, TrueAction, Video
from actloc.evaluation.results_files import write_results
from actloc.evaluation.uncertainty import Interval, Uncertainty
from actloc.settings.published import PublishedMap

TIOUS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
CLASSES = [
    "arranging_blocks",
    "Beer pong",
    "Getting a haircut while talking to somebody",
    "Donaudampfschifffahrtsgesellschaftskapitaen",
    *(f"class {number}" for number in range(46)),
]
PUBLISHED = PublishedMap(
    source="the README of its authors",
    subset="validation",
    protocol="activitynet",
    tious=tuple(TIOUS),
    map=(54.67, *[None] * 4, 37.81, *[None] * 3, 8.36),
    average=36.56,
)


def made_up(name: str, seed: int, num_videos: int = 35) -> tuple[Results, Predictions]:
    """Results and predictions; the videos and their actions are the same for all seeds."""
    shared, own = random.Random(0), random.Random(seed)
    videos, predictions = [], {}
    for number in range(num_videos):
        labels = shared.sample(CLASSES, 2)
        starts = [5.0 + 24 * place + shared.random() * 8 for place in range(4)]
        truth = [
            TrueAction(label=labels[place % 2], start_s=start, end_s=start + 3 + shared.random() * 12)
            for place, start in enumerate(starts)
        ]
        video = Video(id=f"v_{number:04d}_with-a-long-name-as-videos-have", duration_s=110.0, truth=truth)
        videos.append(video)
        predictions[video.id] = [
            Prediction(one.label, own.random(), one.start_s + own.uniform(-4, 4), one.end_s + own.uniform(-2, 4))
            for one in truth * 3
        ]
    found = [[max(0.0, 1.0 - tiou - own.random() * 0.05) for tiou in TIOUS] for _ in CLASSES]
    found[0] = [1.0] * 10
    mean_ap = [sum(row[place] for row in found) / len(found) for place in range(10)]
    mean_ap[:4] = [1.0] * 4
    results = Results(
        name=name,
        dataset="activitynet13",
        subset="validation",
        protocol="activitynet",
        seed=seed,
        checkpoint="ckpt_000030",
        weights="averaged",
        commit="0123456789ab",
        machine="Linux x86_64, Some Processor at 3.00 GHz, 16 cores",
        version="0.1.0",
        created="2026-01-02T03:04:05",
        tious=TIOUS,
        mean_ap=mean_ap,
        average_map=sum(mean_ap) / 10,
        classes=CLASSES,
        class_ap=found,
        truth_per_class=[3] * len(CLASSES),
        thresholds=[Threshold(score=0.35, f1=0.5)] * len(CLASSES),
        counts=Counts(videos=num_videos, truths=4 * num_videos, predictions=12 * num_videos),
        videos=videos,
        trained=TrainedRun(step=12345, num_steps=12345, is_finished=True),
        recall_multiples=[1, 5],
        recall=[mean_ap, mean_ap],
        published=PUBLISHED,
        uncertainty=Uncertainty(
            level=0.95,
            draws=1000,
            seed=0,
            mean_ap=[Interval(low=0.9 * value, high=value) for value in mean_ap],
            average_map=Interval(low=0.5, high=0.6),
        ),
    )
    return results, predictions


def write_run(folder: Path, seed: int, num_videos: int = 35) -> Path:
    """A run folder of this name with results, settings and losses."""
    results, predictions = made_up(folder.name, seed, num_videos)
    written = write_predictions(folder / "eval" / "validation", predictions)
    write_results(folder / "eval" / "validation", results, written)
    (folder / "config.yaml").write_text(
        f"""run: {{name: {folder.name}, folder: {folder.parent}, seed: {seed}}}
dataset:
  name: custom
  folder: data/some where
  videos: my videos
  annotations: labels.csv
  evaluation_subset: validation
features:
  name: stored
  encoder: {{name: efficientnet_lite0}}
  path: data/features
  fps: 8.0
  clip_frames: 2
  stride_frames: 2
  max_steps: {1024 + 64 * seed}
detector:
  name: actionformer
  regression_ranges: [[0, 4], [4, 8], [8, 16], [16, 32], [32, 64], [64, {10000 + seed}]]
optimizer: {{learning_rate: 1e-4}}
schedule: {{epochs: 10, warmup_epochs: 5}}
"""
    )
    (folder / "environment.json").write_text("{}")
    lines = [f'{{"event": "step", "step": {step}, "train/loss/total": {3 / step + 0.2}}}' for step in range(1, 900)]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return folder

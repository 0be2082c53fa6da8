"""Small runs whose numbers are really those of their predictions, with settings that say how they differ."""

from pathlib import Path
from typing import Any

import numpy as np

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation import scoring
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import TrainedRun
from actloc.evaluation.scoring import Origin
from actloc.reports.runs import Evaluation
from actloc.settings.sections import EvaluationSettings

LABELS = ("jump", "run_100%", "sit & <stand>")
SETTINGS = {
    "run.folder": "ckpt",
    "dataset.name": "custom",
    "detector.name": "actionformer",
    "optimizer.learning_rate": 1e-4,
    "machine.device": "cuda:0",
}


def annotations(num_videos: int = 8) -> Annotations:
    """Videos of three actions each, the last without any; some with an Ambiguous interval."""
    random = np.random.default_rng(0)
    videos = {}
    for number in range(num_videos):
        starts = [10.0, 40.0, 70.0] if number < num_videos - 1 or num_videos == 1 else []
        actions = tuple(
            Action(start, start + float(random.uniform(5, 15)), LABELS[(number + place) % 3])
            for place, start in enumerate(starts)
        )
        name = f"v_{number}"
        videos[name] = AnnotatedVideo(name, "test", actions, 100.0, ambiguous=((0.0, 6.0),) if number % 2 else ())
    return Annotations(LABELS, videos)


def found_in(truth: Annotations, noise_s: float, seed: int = 0) -> Predictions:
    """A prediction near each true action and two elsewhere; the noisier, the worse."""
    random = np.random.default_rng(seed)
    found = {}
    for video in truth.videos.values():
        near = [
            Prediction(
                one.label,
                round(float(random.uniform(0.4, 1)), 2),
                one.start_s + float(random.normal(0, noise_s)),
                one.end_s + float(random.normal(0, noise_s)),
            )
            for one in video.actions
        ]
        other = [Prediction(label, round(float(random.uniform(0, 0.7)), 2), 1.0, 5.0) for label in LABELS[:2]]
        found[video.id] = [*near, *other]
    return found


def evaluation(
    name: str,
    seed: int | None = 0,
    noise_s: float = 2.0,
    *,
    num_videos: int = 8,
    protocol: str = "actionformer",
    tious: tuple[float, ...] = (0.3, 0.5, 0.7),
    settings: dict[str, Any] | None = None,
    folder: Path = Path("nowhere"),
    **changes: Any,
) -> Evaluation:
    """A run as `report` reads it; `changes` are of its results."""
    truth = annotations(num_videos)
    found = found_in(truth, noise_s, 0 if seed is None else seed)
    how = EvaluationSettings.model_validate({"protocol": protocol, "tious": tious})
    origin = Origin("ckpt_000030", name, "averaged", seed, trained=TrainedRun(step=30, num_steps=30, is_finished=True))
    subset = scoring.truth_of(truth, "test", PROTOCOLS[how.protocol])
    results = scoring.score("custom", "test", subset, found, origin, how)
    fixed = {"commit": "0123456789ab", "machine": "2 cores", "created": "2026-01-02T03:04:05", "code": {}}
    return Evaluation(
        run=folder / name,
        settings=None,
        environment=None,
        command=None,
        losses=[],
        chosen={**SETTINGS, "run.name": name, "run.seed": seed, **(settings or {})},
        results=results.model_copy(update={**fixed, **changes}),
        predictions=found,
    )

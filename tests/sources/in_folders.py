"""Made-up videos, and the source of their features in a folder."""

from pathlib import Path
from typing import Any

import numpy as np

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.sources.folders import Config
from actloc.sources.folders.source import FolderSource


def annotations_of(**videos: AnnotatedVideo) -> Annotations:
    labels = sorted({action.label for video in videos.values() for action in video.actions})
    return Annotations(tuple(labels), videos, keeps_past_end=True)


def video(name: str = "v", duration_s: float | None = None, fps: float | None = None) -> AnnotatedVideo:
    return AnnotatedVideo(name, "train", (Action(0.5, 1.0, "run"),), duration_s, fps)


def settings(folder: Path, **more: Any) -> Config:
    return Config(**{"path": folder, "fps": 30.0, "clip_frames": 16, "stride_frames": 4, **more})


def source(folder: Path, *videos: AnnotatedVideo, **more: Any) -> FolderSource:
    return FolderSource(settings(folder, **more), annotations_of(**{v.id: v for v in videos or [video()]}), "train")


def array(steps: int = 20, channels: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(steps).normal(size=(steps, channels)).astype(np.float32)

"""Features from a store that `extract-features` or `import-features` made."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.sources.base import SourceConfig
from actloc.store.filling import describe
from actloc.store.grid_check import expected_steps
from actloc.store.store import FeatureStore

if TYPE_CHECKING:
    from actloc.end_to_end.live_encoder import LiveEncoder
    from actloc.sources.stored.source import StoredSource


class Config(SourceConfig):
    """A feature store: a folder with one file per video."""

    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> StoredSource:
        """The subset's features, each checked against these settings and its video's duration."""
        from actloc.sources.stored.source import StoredSource

        return StoredSource(self, annotations, subset)

    def require_features(self, annotations: Annotations, subset: str) -> None:
        """Raises UserError that names the videos that the store does not have, and why it does not."""
        self.split(FeatureStore(self.path), annotations, subset)

    def split(
        self, store: FeatureStore, annotations: Annotations, subset: str
    ) -> tuple[list[AnnotatedVideo], list[AnnotatedVideo]]:
        """Videos of the subset that the store has, and the others; raises UserError if they are required."""
        listed = annotations.of_subset(subset)
        has = store.having([video.id for video in listed])
        present = [video for video in listed if video.id in has]
        missing = [video for video in listed if video.id not in has]
        failed = {str(row["id"]): row for row in store.failed()} if missing else {}
        notes = {name: f"{row.get('reason')}: {row.get('detail')}" for name, row in failed.items()}
        run = f"Run: {store.command_to_make()}"
        are_known = any(video.id in failed for video in missing)
        fix = f"Replace these files. {run}" if are_known else run
        self.refuse_missing(present, missing, annotations, subset, fix, notes=notes)
        return present, missing

    @classmethod
    def small(cls, folder: Path, annotations: Annotations) -> Self:
        """A store of noise, for clips of 4 frames at 8 frames per second."""
        config = cls(path=folder / "features", fps=8.0, clip_frames=4, stride_frames=4, max_steps=16)
        store, generator = FeatureStore(config.path), np.random.default_rng(0)
        store.begin({})
        for video in annotations.videos.values():
            duration_s = video.duration_s or 0.0
            steps = expected_steps(config.spacing, duration_s, 8.0)
            info = describe(
                video.id,
                (0, ""),
                encoder="noise",
                weights_sha256=None,
                recipe={},
                spacing=config.spacing,
                fps=8.0,
                frame_count=round(8 * duration_s),
                duration_s=duration_s,
                reader="none",
            )
            store.write(video.id, generator.standard_normal((steps, 6), dtype=np.float32), info)
        return config

"""Features read from the store that `extract-features` made."""

import json
import random
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from actloc import annotations as annotation_form
from actloc.annotations import AnnotatedVideo, Annotations
from actloc.config import Part
from actloc.errors import UserError
from actloc.ops.crops import clip_past_end, random_crop, resize
from actloc.sources.base import Sample, Source, SourceConfig
from actloc.store import FeatureInfo, FeatureStore
from actloc.structures import Grid, Targets
from actloc.video.windows import num_clips


class Config(SourceConfig):
    """A folder with one feature file per video."""

    name: Literal["stored"] = "stored"

    def build(self, annotations: Annotations, subset: str, encoder: Part | None) -> "StoredSource":
        """The subset's features, each checked against these settings and its video's duration."""
        return StoredSource(self, annotations, subset, encoder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Settings that the contract test fills a store for."""
        return cls(path=folder / "features", fps=8.0, clip_frames=4, stride_frames=4, max_steps=64)


class StoredSource(Source):
    """Videos of one subset with their features on disk."""

    def __init__(self, config: Config, annotations: Annotations, subset: str, encoder: Part | None) -> None:
        self.config = config
        self.store = FeatureStore(config.path)
        self.label_number = {name: number for number, name in enumerate(annotations.classes)}
        self.subsets = sorted({video.subset for video in annotations.videos.values()})
        listed = annotations.of_subset(subset)
        self.videos = [video for video in listed if self.store.has(video.id)]
        self.missing = [video for video in listed if not self.store.has(video.id)]
        self._check_present(subset)
        infos = [self.store.info(video.id) for video in self.videos]
        for video, info in zip(self.videos, infos, strict=True):
            check_fit(config, encoder, video, info, self.store)
        self.in_channels = infos[0].channels
        self.encoder_weights_sha256 = infos[0].weights_sha256

    def _check_present(self, subset: str) -> None:
        if self.videos and (self.config.allow_missing or not self.missing):
            return
        if not self.videos and not self.missing:
            raise UserError(
                f"No video is in the subset {subset!r}.",
                f"The annotations have the subsets {', '.join(self.subsets) or 'none'}.",
                "Name one with dataset.training_subset, dataset.evaluation_subset or training.validation_subset.",
            )
        names = ", ".join(video.id for video in self.missing[:10]) + (", ..." if len(self.missing) > 10 else "")
        raise UserError(
            f"{self.store.folder} has features of {len(self.videos)} of {len(self.videos) + len(self.missing)} videos "
            f"of the subset {subset!r}; missing: {names or 'all, the subset is empty'}.",
            "Expected features of every video.",
            "Run: actloc extract-features CONFIG; or go on without them: features.allow_missing=true",
        )

    def training_sample(self, index: int, generator: random.Random) -> Sample:
        """The video cropped at random, on a seeded generator of its own."""
        sample = self.evaluation_sample(index)
        targets = sample.targets
        offset = sample.grid.offset_steps
        if self.config.past_end == "clip":
            targets = clip_past_end(targets, sample.features.shape[1] + offset, self.config.min_kept)
        features, targets = random_crop(
            sample.features,
            targets,
            generator,
            offset_steps=offset,
            max_steps=self.config.max_steps,
            crop_ratio=self.config.crop_ratio,
            min_kept=self.config.min_kept,
        )
        return Sample(sample.video_id, features, targets, sample.grid)

    def evaluation_sample(self, index: int) -> Sample:
        """The video whole, resized where the settings ask for it."""
        video = self.videos[index]
        raw = torch.from_numpy(self.store.read(video.id))
        features, grid = to_grid(raw, self.store.info(video.id), self.config)
        return Sample(video.id, features, self._targets(video, grid), grid)

    def _targets(self, video: AnnotatedVideo, grid: Grid) -> Targets:
        actions = video.actions
        if self.config.drop_duplicates:
            actions = annotation_form.without_duplicates(actions)
        if not actions:
            return Targets.none()
        segments = torch.tensor([[action.start_s, action.end_s] for action in actions], dtype=torch.float32)
        labels = torch.tensor([self.label_number[action.label] for action in actions])
        return Targets(grid.steps(segments), labels)


def to_grid(raw: Tensor, info: FeatureInfo, config: SourceConfig) -> tuple[Tensor, Grid]:
    """Features (C, T') and their time grid from stored ones (T, C): every so many-th, or interpolated to a fixed T'."""
    if config.resize_to is None:
        stride = float(info.stride_frames * config.downsample)
        return raw[:: config.downsample].T.contiguous(), Grid(info.fps, stride, info.offset_frames)
    # ActivityNet: the whole span that the features cover is cut into equal steps, each centred in its own
    stride = ((raw.shape[0] - 1) * info.stride_frames + info.clip_frames) / config.resize_to
    return resize(raw.T.contiguous(), config.resize_to), Grid(info.fps, stride, 0.5 * stride)


def _encoder_settings(encoder: Part | None, info: FeatureInfo) -> list[tuple[str, object, object]]:
    """Each setting of the encoder, as the features were made and as it stands now."""
    made = json.loads(info.recipe).get("encoder", {}) if encoder else {}
    now = encoder.model_dump(mode="json") if encoder else {}
    return [(f"encoder.{name}", made[name], now.get(name)) for name in made if name != "name"]


def check_fit(
    config: SourceConfig, encoder: Part | None, video: AnnotatedVideo, info: FeatureInfo, store: FeatureStore
) -> None:
    """Raises UserError that says which number of a video's features is not what settings or duration ask for."""
    wrong = [
        f"{name} is {found}, the settings say {expected}"
        for name, found, expected in (
            ("encoder", info.encoder, encoder.name if encoder else info.encoder),
            *_encoder_settings(encoder, info),
            ("fps", info.fps, config.fps),
            ("clip_frames", info.clip_frames, config.clip_frames),
            ("stride_frames", info.stride_frames, config.stride_frames),
            ("align", info.align, config.align),
        )
        if found != expected
    ]
    if video.duration_s is not None:
        frames = round(video.duration_s * config.fps)
        expected_steps = num_clips(frames, config.align, config.clip_frames, config.stride_frames)
        if abs(expected_steps - info.steps) > config.tolerance_steps:
            wrong.append(
                f"there are {info.steps} steps; {video.duration_s:g} s at {config.fps:g} frames per second, "
                f"clips of {config.clip_frames} and stride {config.stride_frames} give about {expected_steps}"
            )
    if wrong:
        raise UserError(
            f"The features of {video.id} in {store.folder} do not fit: {'; '.join(wrong)}.",
            "Expected features made with these settings from this video.",
            "Set `features:` to what the store says, or make them again: actloc extract-features CONFIG --overwrite",
        )

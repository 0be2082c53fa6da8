"""The features of a store as samples."""

import json

import torch

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.uncollected import uncollected
from actloc.errors import UserError
from actloc.settings.sameness import flat, shaping
from actloc.sources.base import SourceConfig
from actloc.sources.base_source import Source
from actloc.sources.stored import Config
from actloc.store.grid_check import expected_steps, fits, warn_of_misfits
from actloc.store.info import FeatureInfo
from actloc.store.info import grid as stored_grid
from actloc.store.on_disk import is_long
from actloc.store.store import FeatureStore, complete
from actloc.structures import Extent, Sample


class StoredSource(Source):
    """Videos of one subset with their features on disk."""

    config: Config

    @uncollected()
    def __init__(self, config: Config, annotations: Annotations, subset: str) -> None:
        super().__init__(config, annotations)
        self.store = FeatureStore(config.path)
        self.videos, self.missing = config.split(self.store, annotations, subset)
        infos = [self.store.info(video.id) for video in self.videos]
        # one video of each kind: a large store has the same settings for all of its videos
        kinds = {_settings_in(info): (video, info) for video, info in zip(self.videos, infos, strict=True)}
        for video, info in kinds.values():
            _check_settings(config, video, info, self.store)
        _check_steps(config, self.videos, infos, self.store)
        self.in_channels = infos[0].channels
        other = next((info for info in infos if info.channels != self.in_channels), None)
        if other is not None:
            raise UserError(
                f"The features of {other.video_id} in {config.path} have {console.count(other.channels, 'channel')}, "
                f"those of {infos[0].video_id} {self.in_channels}.",
                "Expected the same number for every video.",
                f"Make them again: {self.store.command_to_make()} --overwrite",
            )
        self.encoder_weights_sha256 = infos[0].weights_sha256

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video, resized if the settings say so."""
        video = self.videos[index]
        raw = torch.from_numpy(self.store.read(video.id))
        return self._sample(video, *self.config.to_grid(raw, stored_grid(self.store.info(video.id))))

    def detection_sample(self, index: int) -> Sample:
        """All of the video; the features of a long one are checked now, and read when they are asked for."""
        return self._unread(index, are_checked=True)

    def sample_to_cut(self, index: int) -> Sample:
        """All of the video; the features of a long one are checked and read when they are asked for."""
        return self._unread(index, are_checked=False)

    def _unread(self, index: int, *, are_checked: bool) -> Sample:
        video = self.videos[index]
        info = self.store.info(video.id)
        if not is_long(info.steps, info.channels):
            return self.evaluation_sample(index)
        rows = self.store.rows(video.id, are_checked=are_checked)
        return self._sample(video, *self.config.on_grid_unread(rows, info.steps, info.channels, stored_grid(info)))

    def extent(self, index: int) -> Extent:
        """From what the store says about the video."""
        info = self.store.info(self.videos[index].id)
        return self.config.extent(info.steps, stored_grid(info))


def _settings_in(info: FeatureInfo) -> tuple[object, ...]:
    """All of a video's facts that are compared with settings."""
    return info.recipe, info.encoder, info.fps, info.clip_frames, info.stride_frames, info.align


def _recorded_settings(config: SourceConfig, info: FeatureInfo) -> list[tuple[str, object, object]]:
    """Name, value in the store and value now of each setting that only the recipe records."""
    recipe = complete(json.loads(info.recipe))
    if config.encoder is None or "encoder" not in recipe:
        return []
    now, grid = flat(config.encoder.model_dump(mode="json")), shaping(config, "features")
    made = {f"encoder.{name}": (value, now.get(name)) for name, value in recipe["encoder"].items() if name != "name"}
    # FeatureInfo has the others of each video; the stored number format does not matter
    only_in_recipe = [name for name in recipe["features"] if name != "dtype" and not hasattr(info, name)]
    made |= {name: (recipe["features"][name], grid.get(name)) for name in only_in_recipe}
    return [(name, *values) for name, values in made.items()]


def _check_settings(config: SourceConfig, video: AnnotatedVideo, info: FeatureInfo, store: FeatureStore) -> None:
    """Raises UserError that lists where a video's features differ from the settings."""
    wrong = [
        f"{name} is {found}, the settings say {expected}"
        for name, found, expected in (
            ("encoder", info.encoder, config.encoder.name if config.encoder else info.encoder),
            *_recorded_settings(config, info),
            ("fps", info.fps, info.fps if config.fps == "native" else config.fps),
            ("clip_frames", info.clip_frames, config.clip_frames),
            ("stride_frames", info.stride_frames, config.stride_frames),
            ("align", info.align, config.align),
        )
        if found != expected
    ]
    if wrong:
        raise _misfit(
            store, f"The features of {video.id} in {store.folder} do not fit the settings: {'; '.join(wrong)}."
        )


def _check_steps(
    config: SourceConfig, videos: list[AnnotatedVideo], infos: list[FeatureInfo], store: FeatureStore
) -> None:
    """Raises UserError if steps do not fit durations, unless the settings allow a few."""
    timed = [
        (video.id, video.duration_s, info)
        for video, info in zip(videos, infos, strict=True)
        if video.duration_s is not None
    ]
    spacing, tolerance = config.spacing, config.tolerance_steps
    wrong = [
        (name, seconds, info)
        for name, seconds, info in timed
        if not fits(spacing, seconds, info.fps, info.steps, tolerance, info.vectors_per_clip)
    ]
    if not wrong:
        return
    listed = [
        f"{name} has {info.steps} steps; {seconds:g} s at {info.fps:g} frames per second, clips of "
        f"{config.clip_frames} and stride {config.stride_frames} give about "
        f"{expected_steps(spacing, seconds, info.fps, info.vectors_per_clip)}"
        for name, seconds, info in wrong[:3]
    ]
    found = "\n  ".join([f"The features of {len(wrong)} of {len(timed)} videos in {config.path} do not fit:", *listed])
    if not (config.allow_misfits and warn_of_misfits(len(wrong), len(timed), found)):
        raise _misfit(store, found)


def _misfit(store: FeatureStore, found: str) -> UserError:
    return UserError(
        found,
        "Expected features made with these settings from these videos.",
        f"Set `features:` to the values in the store, or make them again: {store.command_to_make()} --overwrite",
    )

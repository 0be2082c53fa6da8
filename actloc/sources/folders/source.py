"""Features in their authors' files as samples, checked against the durations of the videos."""

from functools import partial
from typing import Any

from torch import Tensor

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.ops.windows import even_grid
from actloc.sources.base_source import Source
from actloc.sources.folders import Config
from actloc.store.grid_check import expected_steps, fits, warn_of_misfits
from actloc.store.on_disk import is_long
from actloc.structures import Extent, Grid, Sample

_RATES = (30.0, 25.0, 15.0, 24.0, 29.97, 60.0, 50.0, 59.94)  # common rates first: their neighbours fit short videos too
_STRIDES = (1, 2, 4, 8, 16, 32)
_LARGEST_STRIDE = 128
_LARGEST_SAMPLE = 500  # videos that are enough to find a wrong setting


class FolderSource(Source):
    """Videos of one subset with their features in other projects' files."""

    config: Config
    encoder_weights_sha256 = None

    def __init__(self, config: Config, annotations: Annotations, subset: str) -> None:
        super().__init__(config, annotations)
        self.videos, self.missing = config.split(annotations.of_subset(subset))
        config.require_features(annotations, subset)
        shapes = {video.id: config.shape(video) for video in self.videos}
        self.in_channels = self._channels(shapes)
        self._steps = {video_id: steps for video_id, (steps, _) in shapes.items()}
        check_grid(config, self.videos, self._steps)

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video, resized if the settings say so."""
        video = self.videos[index]
        return self._sample(video, *on_grid(self.config.read(video), video, self.config))

    def detection_sample(self, index: int) -> Sample:
        """All of the video; the features of a long one are read when they are asked for, if their files allow that."""
        video, config = self.videos[index], self.config
        num_rows = self._steps[video.id]
        if not (is_long(num_rows, self.in_channels) and config.can_be_read_in_parts(video)):
            return self.evaluation_sample(index)
        grid = Grid(fps_of(video, config), config.stride_frames, config.spacing.offset_frames)
        return self._sample(
            video, *config.on_grid_unread(partial(config.read_rows, video), num_rows, self.in_channels, grid)
        )

    def extent(self, index: int) -> Extent:
        """From the number of rows in the files' headers; resized features reach to the end of their video."""
        video, config = self.videos[index], self.config
        fps, rows = fps_of(video, config), self._steps[video.id]
        if config.is_resized and video.duration_s is not None:
            return Extent(video.duration_s, video.duration_s / (config.resize_to or rows))
        return config.extent(rows, Grid(fps, config.stride_frames, config.spacing.offset_frames))

    def _channels(self, shapes: dict[str, tuple[int, int]]) -> int:
        first = self.videos[0].id
        for video_id, (_, channels) in shapes.items():
            if channels != shapes[first][1]:
                raise UserError(
                    f"The features of {video_id} have {channels} channels, those of {first} {shapes[first][1]}.",
                    "Expected the same number for every video.",
                    "Check features.path and features.channels_first.",
                )
        return shapes[first][1]


def fps_of(video: AnnotatedVideo, config: Config) -> float:
    """The rate at which this video's frames are counted; raises UserError if it is unknown."""
    if video.fps and (config.fps_from == "annotations" or config.fps == "native"):
        return video.fps
    if config.fps == "native":
        raise UserError(
            f"{video.id} has no frame rate in the annotations, which features.fps=native needs.",
            "Expected the rate at which its features were made.",
            "Set features.fps to that rate, and features.fps_from=annotations for the videos that have their own.",
        )
    return config.fps


def on_grid(raw: Tensor, video: AnnotatedVideo, config: Config) -> tuple[Tensor, Grid]:
    """Features (C, T') and their time grid, from features (T, C) of the files."""
    fps = fps_of(video, config)
    if not config.is_resized:
        grid = Grid(fps, config.stride_frames, config.spacing.offset_frames)
        return config.to_grid(raw, grid)
    if video.duration_s is None:
        raise UserError(
            f"{video.id} has no duration, which features.is_resized needs.",
            "Expected a duration in the annotations.",
            "Prepare the dataset from files that contain durations.",
        )
    features = config.resized(raw)
    return features, even_grid(fps, video.duration_s * fps, features.shape[1])


def check_grid(config: Config, videos: list[AnnotatedVideo], steps: dict[str, int]) -> None:
    """Raises UserError with the likely cause if rows do not fit durations, unless the settings allow a few."""
    timed, wrong = misfits(config, videos, steps)
    if not wrong:
        return
    listed = ", ".join(
        f"{video.id} has {steps[video.id]} rows, not {expected_rows(config, video)}" for video in wrong[:3]
    )
    found = f"The features of {len(wrong)} of {len(timed)} videos in {config.path} do not fit: {listed}"
    if config.allow_misfits and warn_of_misfits(len(wrong), len(timed), found):
        return
    raise UserError(
        f"{found}. {likely_cause(config, wrong, timed, steps)}",
        f"Expected clips of {config.clip_frames} frames every {config.stride_frames}, within "
        f"{config.tolerance_steps:g} rows.",
        "Correct the settings in `features:`; or, to continue if only a few do not fit: features.allow_misfits=true",
    )


def misfits(
    config: Config, videos: list[AnnotatedVideo], steps: dict[str, int]
) -> tuple[list[AnnotatedVideo], list[AnnotatedVideo]]:
    """The videos whose duration is known, and those of them whose rows do not fit it."""
    timed = [video for video in videos if video.duration_s is not None and not config.is_resized]
    return timed, [video for video in timed if not _fits(config, video, steps[video.id])]


def expected_rows(config: Config, video: AnnotatedVideo) -> int:
    """The number of rows for the video's duration."""
    return expected_steps(config.spacing, video.duration_s or 0.0, fps_of(video, config))


def _fits(config: Config, video: AnnotatedVideo, steps: int) -> bool:
    return fits(config.spacing, video.duration_s or 0.0, fps_of(video, config), steps, config.tolerance_steps)


def likely_cause(
    config: Config, misfits: list[AnnotatedVideo], timed: list[AnnotatedVideo], steps: dict[str, int]
) -> str:
    """Names the single setting that would make the most videos fit, or else says why the features may differ."""
    sample = timed[:: max(1, len(timed) // _LARGEST_SAMPLE)]
    ranked = []
    for order, (key, value) in enumerate(_other_settings(config)):
        other = _with_setting(config, key, value)
        errors = [abs(expected_rows(other, video) - steps[video.id]) for video in sample]
        fitting = [error for error in errors if error <= config.tolerance_steps]
        is_odd = key == "stride_frames" and value not in _STRIDES
        # of short videos several settings fit: known rates first, then usual values, of those the one that fits best
        ranked.append((-len(fitting), key != "fps_from", is_odd, sum(fitting), order, key, value))
    *_, key, value = min(ranked)
    num_fitting = sum(_fits(_with_setting(config, key, value), video, steps[video.id]) for video in timed)
    if num_fitting > max(len(timed) - len(misfits), len(timed) // 2):
        which = f"{num_fitting} of {len(timed)} videos" if num_fitting < len(timed) else f"all {len(timed)} videos"
        return f"The likely cause: features.{key}={value} would fit {which if len(timed) > 1 else 'it'}."
    if 2 * len(misfits) <= len(timed):
        return "The likely cause: these videos were cut or damaged when their features were made."
    return "The likely cause: other features, other videos, or channels before steps (features.channels_first)."


def _other_settings(config: Config) -> list[tuple[str, Any]]:  # Any: values of settings
    """Single settings that may be wrong, the likeliest first; where each video's rate is known, rates come last."""
    rates: list[tuple[str, Any]] = [("fps", rate) for rate in _RATES]
    strides = [("stride_frames", stride) for stride in _STRIDES]
    usual = [*strides, *rates] if config.fps == "native" else [*rates, *strides]
    odd = [("stride_frames", stride) for stride in range(1, _LARGEST_STRIDE + 1) if stride not in _STRIDES]
    sources = [("fps_from", value) for value in ("annotations", "settings")]
    return [*sources, *usual, ("align", "backpad"), ("align", "valid"), *odd]


def _with_setting(config: Config, key: str, value: Any) -> Config:  # Any: as above
    return config.model_copy(update={key: value, **({"fps_from": "settings"} if key == "fps" else {})})

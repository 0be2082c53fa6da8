"""Features in their authors' files, read in place: folders with a file for each video, or an HDF5 file."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.ops.windows import even_grid, resize
from actloc.settings.sections import Shapes, ShippedPath
from actloc.sources.base import SourceConfig
from actloc.sources.base_source import Source
from actloc.store.foreign_files import FeatureFile, FeatureFileError, names_in_hdf5
from actloc.store.grid_check import expected_steps, fits, warn_of_misfits
from actloc.structures import Extent, Grid, Sample

_RATES = (30.0, 25.0, 15.0, 24.0, 29.97, 60.0, 50.0, 59.94)  # common rates first: their neighbours fit short videos too
_STRIDES = (1, 2, 4, 8, 16, 32)
_LARGEST_STRIDE = 128
_LARGEST_SAMPLE = 500  # videos that are enough to find a wrong setting


class Config(SourceConfig):
    """Where the files are, how they are named, and the times of their rows."""

    path: Annotated[ShippedPath, Shapes("nothing")]
    """A folder with one file per video, or one HDF5 file with one dataset per video. A clip without its own (Ego4D)
    uses the rows of its whole video that the annotations name."""
    more_paths: Annotated[tuple[Path, ...], Shapes("nothing")] = ()
    """More folders or files like `path`; their channels follow those of the first."""
    prefix: Annotated[str, Shapes("features")] = ""
    """Text before the id in the names of files or datasets: v_ for ActivityNet."""
    suffix: Annotated[str, Shapes("features")] = ".npy"
    """Text after the id in the names of files, with their format: .npy, .npz, .pt, .csv (a line for each step), .pkl
    (NumPy arrays, read without running anything) or .mmap (TALLFormer's bank)."""
    key: Annotated[str | None, Shapes("features")] = None
    """Name of the array in a .npz, .pt or .pkl file; null: the only one."""
    channels_first: Annotated[bool, Shapes("features")] = False
    """Whether arrays are (channels, steps), as in MS-TCN's files."""
    fps_from: Annotated[Literal["settings", "annotations"], Shapes("features")] = "settings"
    """annotations: count frames at each video's annotated rate, or at `fps` if it has none. With fps=native, all rates
    come from the annotations."""
    is_resized: bool = False
    """Whether features were resized to one length when they were made: rows divide the duration evenly."""
    unequal_lengths: Annotated[Literal["refuse", "interpolate"], Shapes("features")] = "refuse"
    """If the folders have different numbers of rows for a video: stop, or interpolate to the longest (EgoVLP)."""

    @property
    def made_from_videos(self) -> bool:
        """They are in files; an encoder, if there is one, is only for new videos."""
        return False

    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> "FolderSource":
        """The subset's features, their number of rows checked against each video's duration."""
        return FolderSource(self, annotations, subset)

    def without_features(self, annotations: Annotations) -> list[str]:
        """Videos without a file in every folder."""
        names = self.names()
        return [video.id for video in annotations.videos.values() if not self._has(video, names)]

    def split(self, videos: list[AnnotatedVideo]) -> tuple[list[AnnotatedVideo], list[AnnotatedVideo]]:
        """Videos with features in every folder, and those without."""
        names = self.names()
        present = [video for video in videos if self._has(video, names)]
        return present, [video for video in videos if not self._has(video, names)]

    def files(self, video: AnnotatedVideo) -> list[FeatureFile]:
        """The video's features in each folder; those of a clip may be rows of its whole video."""
        return [self._file(path, video) for path in (self.path, *self.more_paths)]

    def _file(self, path: Path, video: AnnotatedVideo) -> FeatureFile:
        own = self._named(path, video.id)
        if video.rows is None or own.exists():
            return own
        rows = slice(video.rows.first, video.rows.end)
        part = (slice(None), rows) if self.channels_first else (rows,)
        return replace(self._named(path, video.rows.video_id), part=part)

    def _named(self, path: Path, video_id: str) -> FeatureFile:
        name = f"{self.prefix}{video_id}"
        if path.is_file():
            return FeatureFile(path, dataset=name)
        return FeatureFile(path / (name + self.suffix), key=self.key)

    def shape(self, video: AnnotatedVideo) -> tuple[int, int]:
        """Steps and channels of the folders together; raises FeatureFileError."""
        shapes = [file.shape() for file in self.files(video)]
        if self.channels_first:
            shapes = [(steps, channels) for channels, steps in shapes]
        lengths = [steps for steps, _ in shapes]
        if len(set(lengths)) > 1 and self.unequal_lengths == "refuse":
            raise FeatureFileError(
                "unsupported",
                f"The features of {video.id} have {', '.join(map(str, lengths))} steps in the {len(lengths)} folders.",
                "Expected the same number in each.",
                "Interpolate the shorter ones: features.unequal_lengths=interpolate",
            )
        return max(lengths), sum(channels for _, channels in shapes)

    def read(self, video: AnnotatedVideo) -> Tensor:
        """Features (T, C) float32 of all folders side by side; raises FeatureFileError."""
        parts = [file.read() for file in self.files(video)]
        parts = [part.T if self.channels_first else part for part in parts]
        longest = max(len(part) for part in parts)
        parts = [part if len(part) == longest else resize(part.T.contiguous(), longest).T for part in parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def missing_files(self, video: AnnotatedVideo, names: dict[Path, frozenset[str]]) -> list[FeatureFile]:
        """The files of a video that are missing; `names` are the datasets of HDF5 files."""
        return [
            file
            for file in self.files(video)
            if not (file.dataset in names[file.path] if file.dataset else file.path.is_file())
        ]

    def names(self) -> dict[Path, frozenset[str]]:
        """The datasets of each HDF5 file."""
        return {path: names_in_hdf5(path) for path in (self.path, *self.more_paths) if path.is_file()}

    def _has(self, video: AnnotatedVideo, names: dict[Path, frozenset[str]]) -> bool:
        return not self.missing_files(video, names)

    @classmethod
    def small(cls, folder: Path, annotations: Annotations) -> Self:
        """Files of noise, for clips of 4 frames at 8 frames per second."""
        config = cls(path=folder / "features", fps=8.0, clip_frames=4, stride_frames=4, max_steps=16)
        config.path.mkdir()
        generator = np.random.default_rng(0)
        for video in annotations.videos.values():
            steps = expected_steps(config.spacing, video.duration_s or 0.0, 8.0)
            np.save(config.path / f"{video.id}.npy", generator.standard_normal((steps, 6), dtype=np.float32))
        return config


class FolderSource(Source):
    """Videos of one subset with their features in other projects' files."""

    config: Config
    encoder_weights_sha256 = None

    def __init__(self, config: Config, annotations: Annotations, subset: str) -> None:
        super().__init__(config, annotations)
        self.videos, self.missing = config.split(annotations.of_subset(subset))
        notes, names = {}, config.names()
        for video in self.missing if config.more_paths else ():
            gone = [file.path if file.dataset else file.path.parent for file in config.missing_files(video, names)]
            notes[video.id] = f"not in {' and '.join(map(str, gone))}"
        fix = "Check features.path, features.prefix and features.suffix"
        self._require_features(annotations, subset, fix, "The folders have features of" if notes else "", notes)
        shapes = {video.id: config.shape(video) for video in self.videos}
        self.in_channels = self._channels(shapes)
        self._steps = {video_id: steps for video_id, (steps, _) in shapes.items()}
        check_grid(config, self.videos, self._steps)

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video, resized if the settings say so."""
        video = self.videos[index]
        return self._sample(video, *on_grid(self.config.read(video), video, self.config))

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

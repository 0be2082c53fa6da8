"""Features in their authors' files, read in place: folders with a file for each video, or an HDF5 file."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import NonNegativeInt, PositiveInt, field_validator, model_validator

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.ops.windows import resize
from actloc.settings.sections import Shapes, ShippedPath
from actloc.sources.base import SourceConfig
from actloc.store.foreign_files import SUFFIXES, FeatureFile, FeatureFileError, names_in_hdf5
from actloc.store.grid_check import expected_steps

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.end_to_end.live_encoder import LiveEncoder
    from actloc.sources.folders.source import FolderSource


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
    in_subset_folders: Annotated[bool, Shapes("nothing")] = False
    """Whether the files of each subset are in a folder of its name, as training/ID.pkl, validation/ID.pkl (TCANet's
    features of HACS)."""
    key: Annotated[str | None, Shapes("features")] = None
    """Name of the array in a .npz, .pt or .pkl file; null: the only one."""
    channels_first: Annotated[bool, Shapes("features")] = False
    """Whether arrays are (channels, steps), as in MS-TCN's files."""
    channels: Annotated[tuple[NonNegativeInt, PositiveInt] | None, Shapes("features")] = None
    """The part of each file's channels to use, from the first number to before the second, counted from 0: [0, 1024] is
    the RGB half of two-stream I3D features. null: all."""
    fps_from: Annotated[Literal["settings", "annotations"], Shapes("features")] = "settings"
    """annotations: count frames at each video's annotated rate, or at `fps` if it has none. With fps=native, all rates
    come from the annotations."""
    is_resized: bool = False
    """Whether features were resized to one length when they were made: rows divide the duration evenly."""
    unequal_lengths: Annotated[Literal["refuse", "interpolate"], Shapes("features")] = "refuse"
    """If the folders have different numbers of rows for a video: stop, or interpolate to the longest (EgoVLP)."""

    @field_validator("suffix")
    @classmethod
    def _names_a_format(cls, suffix: str) -> str:
        if suffix and not suffix.endswith(SUFFIXES):  # names in an HDF5 file may have none
            raise ValueError(f"found {suffix!r}, expected text that ends with one of {', '.join(SUFFIXES)}")
        return suffix

    @model_validator(mode="after")
    def _channels_are_a_range(self) -> Self:
        if self.channels is not None and self.channels[0] >= self.channels[1]:
            raise ValueError(f"channels: found {list(self.channels)}, expected two numbers, the smaller first")
        return self

    @property
    def made_from_videos(self) -> bool:
        """They are in files; an encoder, if there is one, is only for new videos."""
        return False

    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> FolderSource:
        """The subset's features, their number of rows checked against each video's duration."""
        from actloc.sources.folders.source import FolderSource

        return FolderSource(self, annotations, subset)

    def without_features(self, annotations: Annotations) -> list[str]:
        """Videos without a file in every folder."""
        names = self.names()
        return [video.id for video in annotations.videos.values() if not self._has(video, names)]

    def require_features(self, annotations: Annotations, subset: str) -> None:
        """Raises UserError that names the videos without a file, and the folders that do not have it."""
        present, missing = self.split(annotations.of_subset(subset))
        notes, names = {}, self.names() if missing and self.more_paths else {}
        for video in missing if self.more_paths else ():
            gone = [file.path if file.dataset else file.path.parent for file in self.missing_files(video, names)]
            notes[video.id] = f"not in {' and '.join(map(str, gone))}"
        has = "The folders have features of" if notes else ""
        fix = f"Check features.path, features.prefix and features.suffix{self._nearest_file(missing)}"
        self.refuse_missing(present, missing, annotations, subset, fix, has, notes)

    def _nearest_file(self, missing: list[AnnotatedVideo]) -> str:
        """`; NAME is missing. Did you mean OTHER?` of the first video without features in the first folder, or less."""
        name = f"{self.prefix}{missing[0].id}{self.suffix}" if missing else ""
        folder = self._folder(self.path, missing[0].subset) if missing else self.path
        if not name or not folder.is_dir() or (folder / name).exists():
            return ""
        there = (path.name for path in folder.iterdir())
        return f"; {name} is missing{console.nearest(name, there, lists_known=False).removesuffix('.')}"

    def split(self, videos: list[AnnotatedVideo]) -> tuple[list[AnnotatedVideo], list[AnnotatedVideo]]:
        """Videos with features in every folder, and those without."""
        names = self.names()
        present = [video for video in videos if self._has(video, names)]
        return present, [video for video in videos if not self._has(video, names)]

    def files(self, video: AnnotatedVideo) -> list[FeatureFile]:
        """The video's features in each folder; those of a clip may be rows of its whole video."""
        return [self._file(path, video) for path in (self.path, *self.more_paths)]

    def _file(self, path: Path, video: AnnotatedVideo) -> FeatureFile:
        file, rows = self._named(path, video.id, video.subset), slice(None)
        if video.rows is not None and not file.exists():
            file, rows = self._named(path, video.rows.video_id, video.subset), slice(video.rows.first, video.rows.end)
        if self.channels is not None:
            part = (rows, slice(*self.channels))
            return replace(file, part=part[::-1] if self.channels_first else part)
        if rows == slice(None):
            return file
        return replace(file, part=(slice(None), rows) if self.channels_first else (rows,))

    def _named(self, path: Path, video_id: str, subset: str) -> FeatureFile:
        name = f"{self.prefix}{video_id}"
        if path.is_file():
            return FeatureFile(path, dataset=name)
        return FeatureFile(self._folder(path, subset) / (name + self.suffix), key=self.key)

    def _folder(self, path: Path, subset: str) -> Path:
        return path / subset if self.in_subset_folders else path

    def shape(self, video: AnnotatedVideo) -> tuple[int, int]:
        """Steps and channels of the folders together; raises FeatureFileError."""
        shapes = [file.shape() for file in self.files(video)]
        if self.channels_first:
            shapes = [(steps, channels) for channels, steps in shapes]
        if self.channels is not None:
            self._check_channels(video, shapes)
        lengths = [steps for steps, _ in shapes]
        if len(set(lengths)) > 1 and self.unequal_lengths == "refuse":
            raise FeatureFileError(
                "unsupported",
                f"The features of {video.id} have {', '.join(map(str, lengths))} steps in the {len(lengths)} folders.",
                "Expected the same number in each.",
                "Interpolate the shorter ones: features.unequal_lengths=interpolate",
            )
        return max(lengths), sum(channels for _, channels in shapes)

    def _check_channels(self, video: AnnotatedVideo, shapes: list[tuple[int, int]]) -> None:
        first, end = self.channels or (0, 0)
        for file, (_, found) in zip(self.files(video), shapes, strict=True):
            if found != end - first:
                raise FeatureFileError(
                    "unsupported",
                    f"{file} has {first + found} channels, and features.channels is [{first}, {end}].",
                    f"Expected at least {end} channels.",
                    "Set features.channels to a part of those in the files, or to null for all of them.",
                )

    def read(self, video: AnnotatedVideo) -> Tensor:
        """Features (T, C) float32 of all folders side by side; raises FeatureFileError."""
        import torch

        parts = [file.read() for file in self.files(video)]
        parts = [part.T if self.channels_first else part for part in parts]
        longest = max(len(part) for part in parts)
        parts = [part if len(part) == longest else resize(part.T.contiguous(), longest).T for part in parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def can_be_read_in_parts(self, video: AnnotatedVideo) -> bool:
        """Whether rows can be read without those before them, and need no others to be what they are."""
        files, axis = self.files(video), 1 if self.channels_first else 0
        have_same_rows = len({file.shape()[axis] for file in files}) == 1
        return not self.is_resized and have_same_rows and all(file.has_rows for file in files)

    def read_rows(self, video: AnnotatedVideo, start: int, end: int) -> Tensor:
        """Rows `start` to `end` of what `read` gives, of files that can be read in parts; raises FeatureFileError."""
        import torch

        parts = [file.steps(start, end, axis=1 if self.channels_first else 0).read() for file in self.files(video)]
        parts = [part.T if self.channels_first else part for part in parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def missing_files(self, video: AnnotatedVideo, names: dict[Path, frozenset[str]]) -> list[FeatureFile]:
        """The files of a video that are missing; `names` are the datasets of HDF5 files."""
        return [
            file
            for file in self.files(video)
            if not (file.dataset in names[file.path] if file.dataset else file.path.is_file())
        ]

    def names(self) -> dict[Path, frozenset[str]]:
        """The datasets of each HDF5 file; raises UserError for one where subsets are to have folders."""
        packed = [path for path in (self.path, *self.more_paths) if path.is_file()]
        if packed and self.in_subset_folders:
            raise UserError(
                f"features.in_subset_folders is true, and {packed[0]} is a file.",
                "Expected a folder with one folder for each subset.",
                "Name the folder, or read the file as it is: features.in_subset_folders=false",
            )
        return {path: names_in_hdf5(path) for path in packed}

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

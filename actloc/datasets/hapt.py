"""HAPT: 12 activities and transitions in 61 phone recordings (Reyes-Ortiz et al., 2015); sensor streams as features.

The original data is the downloaded folder or an archive of it, which is read in memory and not unpacked.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from actloc import console, files
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder
from actloc.store.filling import describe
from actloc.store.store import FeatureStore
from actloc.video.windows import ClipSpacing

_FPS = 50.0
_SIGNAL = re.compile(r"(acc|gyro)_(exp\d\d)_(user\d\d)\.txt")
_SENSORS = ("acc", "gyro")
_TEXTS = ("labels.txt", "activity_labels.txt", "subject_id_train.txt", "subject_id_test.txt")
_LARGEST_BYTES = 64 * 1024 * 1024  # the largest official file has 1.3 MB; a larger one is not HAPT's


class Config(DatasetConfig):
    """Where the recordings are, and the windows that become features."""

    raw: InputFileOrFolder
    """The unpacked folder that contains RawData, or an archive of it: .zip, .tar, .tar.gz or .tar.xz."""
    window_samples: PositiveInt = 50
    """Samples per feature, at 50 per second: a feature is six channels of this length, one after the other."""
    stride_samples: PositiveInt = 25
    """Samples from one feature to the next."""

    @property
    def features_folder(self) -> Path:
        """The feature store that `prepare` writes; `features: {name: stored}` reads it."""
        return self.folder / "features"

    def collect(self) -> Annotations:
        """Annotations of all recordings, split by person as officially; also writes their features."""
        raw = _read(self.raw)
        recordings = {name: raw.recording(name) for name in sorted(raw.signals)}
        people = {"train": raw.people("subject_id_train.txt"), "test": raw.people("subject_id_test.txt")}
        subset_of = {name: _subset(name, people) for name in recordings}
        names = {"train": self.training_subset, "test": self.evaluation_subset}
        actions = raw.actions()
        videos = {
            name: AnnotatedVideo(
                name, names[subset_of[name]], tuple(actions.get(name, ())), len(signal) / _FPS, _FPS, len(signal)
            )
            for name, signal in recordings.items()
        }
        orphans = [
            published.Defect("names a missing recording (left out)", f"{name}: {action.label}")
            for name in sorted(actions.keys() - recordings.keys())
            for action in actions[name]
        ]
        annotations = Annotations(tuple(raw.activities().values()), videos, keeps_past_end=True)
        settled = published.settle(annotations, published.Rule(), self.folder, orphans)
        self._write_features(raw, recordings, [name for name in recordings if subset_of[name] == "train"])
        return settled

    def _write_features(self, raw: "_Raw", recordings: dict[str, NDArray[np.float64]], training: list[str]) -> None:
        """Windows of every recording, z-scored by the samples of the training recordings."""
        samples = np.concatenate([recordings[name] for name in training])
        mean, deviation = samples.mean(0), samples.std(0)
        recipe = {
            "dataset": self.name,
            "window_samples": self.window_samples,
            "stride_samples": self.stride_samples,
            "mean": mean.round(9).tolist(),
            "standard_deviation": deviation.round(9).tolist(),
        }
        store = FeatureStore(self.features_folder)
        if store.recipe() not in (None, recipe):
            raise UserError(
                f"{store.folder} has features of other recordings or other windows.",
                "Expected no features, or the same ones.",
                f"Delete {store.folder}, or set dataset.folder to another folder.",
            )
        store.begin(recipe)
        made_of = {name: b"".join(raw.contents(name)) for name in recordings}
        sha256_of = {name: files.sha256_of_bytes(content) for name, content in made_of.items()}
        missing = [
            name for name in recordings if not store.has(name) or store.info(name).source_sha256 != sha256_of[name]
        ]
        spacing = ClipSpacing(_FPS, None, self.window_samples, 1, self.stride_samples, "valid")
        for name in missing:
            features = windows((recordings[name] - mean) / deviation, self.window_samples, self.stride_samples)
            info = describe(
                name,
                (len(made_of[name]), sha256_of[name]),
                encoder=self.name,
                weights_sha256=None,
                recipe=recipe,
                spacing=spacing,
                fps=_FPS,
                frame_count=len(recordings[name]),
                duration_s=len(recordings[name]) / _FPS,
                reader=self.name,
            )
            store.write(name, features, info)
        store.write_index()
        console.say(
            f"Wrote the features of {len(missing)} of {console.count(len(recordings), 'recording')} to {store.folder}"
        )

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Recordings of a few seconds that the contract test writes."""
        return cls(folder=folder / "prepared", raw=folder / "hapt")


def windows(signal: NDArray[np.float64], length: int, stride: int) -> NDArray[np.float32]:
    """Windows of a signal (samples, channels) as features (T, channels * length), channel after channel."""
    views = np.lib.stride_tricks.sliding_window_view(signal, length, axis=0)[::stride]  # (T, channels, length)
    return np.ascontiguousarray(views.reshape(len(views), -1), dtype=np.float32)


def _subset(name: str, people: dict[str, set[int]]) -> str:
    person = int(name[-2:])
    subsets = [subset for subset, members in people.items() if person in members]
    if len(subsets) != 1:
        raise UserError(
            f"The person of {name} is in {console.count(len(subsets), 'subset')}.",
            "Expected each person in either subject_id_train.txt or subject_id_test.txt.",
            "Download HAPT again.",
        )
    return subsets[0]


@dataclass(frozen=True)
class _Raw:
    """The files of the download that are used."""

    path: Path
    signals: dict[str, dict[str, bytes]]
    """Text of each sensor by recording, for example exp01_user01."""
    texts: dict[str, str]

    def recording(self, name: str) -> NDArray[np.float64]:
        """Samples (samples, 6): accelerometer x y z, gyroscope x y z."""
        sensors = [self._table(name, sensor) for sensor in _SENSORS]
        shortest = min(len(sensor) for sensor in sensors)
        return np.concatenate([sensor[:shortest] for sensor in sensors], axis=1)

    def _table(self, name: str, sensor: str) -> NDArray[np.float64]:
        try:
            table = np.loadtxt(io.BytesIO(self.signals[name][sensor]), ndmin=2)
        except (KeyError, ValueError) as error:
            raise self._bad(f"{sensor}_{name}.txt is missing or not a table: {error}") from error
        if table.shape[1] != 3 or not np.isfinite(table).all():
            raise self._bad(f"{sensor}_{name}.txt does not have three finite numbers in every line")
        return table

    def contents(self, name: str) -> list[bytes]:
        """A recording's files, in the order of the sensors."""
        return [self.signals[name][sensor] for sensor in _SENSORS]

    def activities(self) -> dict[int, str]:
        """Names of the activities by number."""
        rows = [line.split() for line in self.texts["activity_labels.txt"].splitlines() if line.strip()]
        if any(len(cells) < 2 for cells in rows):
            raise self._bad("activity_labels.txt has a line without a name")
        return {int(published.number(cells[0], self.path)): cells[1] for cells in rows}

    def people(self, name: str) -> set[int]:
        """The people of one subset; the official files have one line per window, with repeats."""
        return {int(published.number(cell, self.path / name)) for cell in self.texts[name].split()}

    def actions(self) -> dict[str, list[Action]]:
        """Actions by recording; samples are counted from 1, and the last one is part of the action."""
        activities, actions = self.activities(), dict[str, list[Action]]()
        for line in self.texts["labels.txt"].splitlines():
            if not line.strip():
                continue
            try:
                experiment, person, activity, first, last = map(int, line.split())
                action = Action((first - 1) / _FPS, last / _FPS, activities[activity])
            except (ValueError, KeyError, OverflowError) as error:
                raise self._bad(f"labels.txt: cannot read the line {line!r}") from error
            actions.setdefault(f"exp{experiment:02d}_user{person:02d}", []).append(action)
        return actions

    def _bad(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: {what}.", "Expected HAPT as downloaded.", "Download it again (UCI data set 341)."
        )


def _read(path: Path) -> _Raw:
    raw = _Raw(path, {}, {})
    for name, content in _members(path):
        match = _SIGNAL.fullmatch(name)
        if match:
            raw.signals.setdefault(f"{match[2]}_{match[3]}", {})[match[1]] = content
        elif name in _TEXTS:
            raw.texts[name] = content.decode("utf-8", errors="replace")
    missing = [name for name in _TEXTS if name not in raw.texts]
    if missing or not raw.signals:
        raise UserError(
            f"{path} does not contain {' or '.join(missing) or 'recordings like RawData/acc_exp01_user01.txt'}.",
            "Expected the folder RawData, activity_labels.txt and the two lists of people, at any depth.",
            "Download HAPT (UCI data set 341) and set dataset.raw to it.",
        )
    return raw


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name (without folders) and content of every regular file that may be used; skips the rest."""
    try:
        if path.is_dir():
            yield from ((file.name, file.read_bytes()) for file in sorted(path.rglob("*.txt")) if file.is_file())
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if _may_be_used(entry.filename, entry.file_size):
                        yield Path(entry.filename).name, archive.read(entry)
        else:
            with tarfile.open(path) as archive_:
                for member in archive_:
                    is_wanted = member.isreg() and _may_be_used(member.name, member.size)
                    content = archive_.extractfile(member) if is_wanted else None
                    if content is not None:
                        yield Path(member.name).name, content.read()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(
            f"{path} cannot be read: {error}.", "Expected a folder, a .zip or a .tar.xz.", "Download it again."
        ) from error


def _may_be_used(name: str, size: int) -> bool:
    file = Path(name).name
    return size <= _LARGEST_BYTES and (file in _TEXTS or _SIGNAL.fullmatch(file) is not None)

"""Features: missing, short, of another width, not finite, constant, or on another grid than the settings say."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.diagnosis.finding import Finding, graded
from actloc.errors import UserError
from actloc.sources.base import SourceConfig
from actloc.sources.folders import Config as FolderConfig
from actloc.sources.folders.source import expected_rows, likely_cause, misfits
from actloc.sources.stored import Config as StoredConfig
from actloc.store.foreign_files import FeatureFileError
from actloc.store.grid_check import expected_steps, fits
from actloc.store.store import FeatureStore

Array = NDArray[np.float32]
_TIMES = 16
"""Steps of a signature."""
_LEAST_SPREAD = 1e-6
"""Below this share of its size, the spread of a channel is rounding."""


@dataclass
class _Read:
    """What was read of the videos, one after the other."""

    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Steps and channels."""
    signatures: dict[str, Array] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    still: list[str] = field(default_factory=list)
    """Videos whose features never change."""
    lowest: dict[int, Array] = field(default_factory=dict)
    """Of each channel, by the number of channels, over all videos; `highest` likewise."""
    highest: dict[int, Array] = field(default_factory=dict)


def findings(
    config: SourceConfig, annotations: Annotations, subsets: list[str]
) -> tuple[list[Finding], dict[str, Array]]:
    """What is wrong with the features of these subsets, and a signature of each video's."""
    videos = [video for subset in dict.fromkeys(subsets) for video in annotations.of_subset(subset)]
    if isinstance(config, FolderConfig):
        present, missing = config.split(videos)
        read = _read_all(present, lambda video: config.read(video).numpy())
        found = [*_missing(config, present, missing), *_values(config, read), *_grid_of_folders(config, present, read)]
    elif isinstance(config, StoredConfig):
        store = FeatureStore(config.path)
        present = [video for video in videos if store.has(video.id)]
        missing = [video for video in videos if not store.has(video.id)]
        read = _read_all(present, lambda video: store.read(video.id))
        found = [
            *_missing(config, present, missing),
            *_values(config, read),
            *_grid_of_store(config, store, present, read),
        ]
    else:
        return [], {}
    if not any(one.severity == "error" for one in found):
        found += _refused(config, annotations, subsets)
    return found, read.signatures


def _read_all(videos: list[AnnotatedVideo], read: Callable[[AnnotatedVideo], Array]) -> _Read:
    seen = _Read()
    with console.progress("reading features", len(videos)) as bar:
        for video in videos:
            try:
                _note(seen, video.id, read(video))
            except FeatureFileError as error:
                (seen.not_finite if error.reason == "non_finite" else seen.unreadable).append(
                    video.id if error.reason == "non_finite" else error.found
                )
            except UserError as error:
                if "not finite" in error.found:
                    seen.not_finite.append(video.id)
                else:
                    seen.unreadable.append(error.found)
            bar(1)
    return seen


def _note(seen: _Read, video_id: str, array: Array) -> None:
    steps, channels = array.shape
    seen.rows[video_id] = steps, channels
    lowest, highest = array.min(axis=0), array.max(axis=0)
    if steps > 1 and bool(np.all(highest - lowest <= _LEAST_SPREAD * np.maximum(1e-12, np.abs(highest)))):
        seen.still.append(video_id)
    if channels in seen.lowest:
        lowest, highest = np.minimum(lowest, seen.lowest[channels]), np.maximum(highest, seen.highest[channels])
    seen.lowest[channels], seen.highest[channels] = lowest, highest
    picked = np.linspace(0, steps - 1, _TIMES).round().astype(int)
    seen.signatures[video_id] = array[picked].astype(np.float32)


def _make(config: SourceConfig) -> str:
    return (
        "Run: actloc extract-features CONFIG" if config.made_from_videos else "Check features.path, prefix and suffix"
    )


def _missing(config: SourceConfig, present: list[AnnotatedVideo], missing: list[AnnotatedVideo]) -> list[Finding]:
    if not missing:
        return []
    of = console.count(len(present) + len(missing), "video")
    what = f"{len(missing)} of {of} {'has' if len(missing) == 1 else 'have'} no features: "
    names = [video.id for video in missing]
    severity = graded(config.allow_missing and bool(present), "warning", "error")
    return [
        Finding(severity, "missing_features", what + console.first_ten(names), str(config.path), _make(config), names)
    ]


def _values(config: SourceConfig, seen: _Read) -> list[Finding]:
    where, found = str(config.path), []
    if seen.unreadable:
        what = f"Features of {console.count(len(seen.unreadable), 'video')} cannot be read: {seen.unreadable[0]}"
        found.append(Finding("error", "unreadable_features", what, where, _make(config), seen.unreadable))
    if seen.not_finite:
        what = f"Features with nan or inf: {console.first_ten(seen.not_finite)}"
        found.append(
            Finding("error", "not_finite", what, where, "Make the features of these videos again", seen.not_finite)
        )
    widths = Counter(channels for _, channels in seen.rows.values())
    if len(widths) > 1:
        usual = widths.most_common(1)[0][0]
        odd = [f"{name} ({channels})" for name, (_, channels) in seen.rows.items() if channels != usual]
        what = f"Most features have {console.count(usual, 'channel')}; others: {console.first_ten(odd)}"
        fix = "Make these again with the encoder of the others; see also features.channels_first"
        found.append(Finding("error", "dimension", what, where, fix, dict(widths)))
    if seen.still and len(seen.still) < len(seen.rows):
        what = f"Features that never change within the video: {console.first_ten(seen.still)}"
        found.append(
            Finding(
                "warning", "still_features", what, where, "Check these videos: are they of one picture?", seen.still
            )
        )
    for channels, lowest in seen.lowest.items():
        spread = seen.highest[channels] - lowest
        constant = np.flatnonzero(spread <= _LEAST_SPREAD * np.maximum(1e-12, np.abs(lowest))).tolist()
        if constant and len(seen.rows) > 1:
            what = f"{len(constant)} of {console.count(channels, 'channel')} are the same number in all videos: "
            fix = "Check how the features were made: they may be cut, padded, or joined in another order"
            found.append(
                Finding("warning", "constant_channels", what + console.first_ten(constant), where, fix, constant)
            )
    return found


def _grid_of_folders(config: FolderConfig, present: list[AnnotatedVideo], seen: _Read) -> list[Finding]:
    """Rows that do not fit durations, with the setting that would make them fit."""
    steps = {name: number for name, (number, _) in seen.rows.items()}
    try:
        timed, wrong = misfits(config, [video for video in present if video.id in steps], steps)
        if not wrong:
            return []
        listed = [f"{video.id} has {steps[video.id]} rows, not {expected_rows(config, video)}" for video in wrong]
        cause = likely_cause(config, wrong, timed, steps)
    except UserError as error:
        return [Finding("error", "grid", error.found, str(config.path), error.fix)]
    return [_misfit(config, listed, len(timed), cause, {video.id: steps[video.id] for video in wrong})]


def _grid_of_store(
    config: StoredConfig, store: FeatureStore, present: list[AnnotatedVideo], seen: _Read
) -> list[Finding]:
    listed, rows, timed = [], {}, 0
    for video in present:
        if video.id not in seen.rows or video.duration_s is None:
            continue
        info, timed = store.info(video.id), timed + 1
        if not fits(
            config.spacing, video.duration_s, info.fps, info.steps, config.tolerance_steps, info.vectors_per_clip
        ):
            about = expected_steps(config.spacing, video.duration_s, info.fps, info.vectors_per_clip)
            listed.append(f"{video.id} has {info.steps} rows, not {about}")
            rows[video.id] = info.steps
    return [_misfit(config, listed, timed, "", rows)] if listed else []


def _misfit(config: SourceConfig, listed: list[str], timed: int, cause: str, value: Mapping[str, Any]) -> Finding:
    kind = "short_features" if 2 * len(listed) <= timed else "grid"
    fits_not = f"do not fit {'its duration' if timed == 1 else 'their durations'}"
    what = f"Features of {len(listed)} of {console.count(timed, 'video')} {fits_not}: {console.first_ten(listed)}"
    severity = graded(config.allow_misfits and kind == "short_features", "warning", "error")
    fix = f"{cause} Correct `features:`, or make these features again".strip()
    return Finding(severity, kind, what, str(config.path), fix, dict(value))


def _refused(config: SourceConfig, annotations: Annotations, subsets: list[str]) -> list[Finding]:
    """What training would refuse that no other check names, such as features of other settings."""
    for subset in dict.fromkeys(subsets):
        try:
            config.build(annotations, subset)
        except UserError as error:
            return [Finding("error", "features", error.found, str(config.path), error.fix)]
    return []

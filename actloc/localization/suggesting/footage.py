"""The unlabelled footage of a run's dataset, cut into windows, and what is left out of it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actloc import console
from actloc.annotations import annotated_time
from actloc.annotations.annotated_time import Span
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.subsets import meanings

_USUAL_WINDOW_S = 30.0
_LEAST_S = 1.0
"""Shorter stretches between annotated intervals are no use to an annotator."""
_UNKNOWN = "of unknown length"


@dataclass
class Footage:
    """Videos with unlabelled stretches, and what was left out."""

    videos: list[AnnotatedVideo] = field(default_factory=list)
    """In order of their ids."""
    spans: dict[str, list[Span]] = field(default_factory=dict)
    """The unlabelled stretches of each, in seconds."""
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The ids of the videos that are left out, by the reason."""

    def windows(self, window_s: float) -> list[tuple[str, Span]]:
        """The stretches as windows, with the ids of their videos."""
        return [(key, window) for key, spans in self.spans.items() for window in tiled(spans, window_s)]

    @property
    def seconds(self) -> float:
        """The length of all stretches."""
        return sum(end - start for spans in self.spans.values() for start, end in spans)

    def leave_out(self, video_id: str, why: str) -> None:
        """Notes that a video is left out, all of it."""
        self.videos = [video for video in self.videos if video.id != video_id]
        self.spans.pop(video_id, None)
        self.left_out[why].append(video_id)

    def add(self, video: AnnotatedVideo, spans: Sequence[Span]) -> None:
        """Adds a video, if it has a stretch that is long enough to be annotated; otherwise it is left out."""
        used = [(start, end) for start, end in spans if end - start >= _LEAST_S]
        if used:
            self.videos.append(video)
            self.spans[video.id] = used
        else:
            why = f"less than {_LEAST_S:g} s of which is unlabelled" if spans else "annotated already"
            self.left_out[why].append(video.id)

    def sentences(self) -> list[str]:
        """What was left out, one reason in each."""
        return [
            f"Left out {console.count(len(ids), 'video')}, {why}: {console.first_ten(ids)}"
            for why, ids in self.left_out.items()
        ]


def held_out(annotations: Annotations, subsets: Mapping[str, str]) -> dict[str, str]:
    """Why a video must not be suggested, by its id: `subsets` says what a run uses each of its subsets for."""
    uses = {name.lower(): f"in the subset {name!r}, which {use}" for name, use in subsets.items()}
    found = {}
    for video in annotations.videos.values():
        name = video.subset.lower()
        if name in uses:
            found[video.id] = uses[name]
        elif meanings(()).get(name) == "test":
            found[video.id] = f"in the subset {video.subset!r}, a test set by its name"
    return found


def of_dataset(annotations: Annotations, training: str, held: Mapping[str, str]) -> Footage:
    """What is unlabelled in the videos of a dataset.

    That is the time outside of the annotated intervals of a video, and all of a video in a subset other than `training`
    in which none has an action. `held` has the reason for each video that must not be suggested.
    """
    labelled = {video.subset.lower() for video in annotations.videos.values() if video.actions or video.annotated}
    labelled.add(training.lower())
    found = Footage()
    for video in annotations.videos.values():
        if video.id in held:
            found.left_out[held[video.id]].append(video.id)
        elif video.duration_s is None:
            found.left_out[_UNKNOWN].append(video.id)
        else:
            is_labelled = bool(video.actions) or video.subset.lower() in labelled
            found.add(video, unlabelled(video, video.duration_s, is_labelled=is_labelled))
    return found


def unlabelled(video: AnnotatedVideo, duration_s: float, *, is_labelled: bool) -> list[Span]:
    """The stretches of a video that are not annotated; `is_labelled` if it is whole where it states no intervals."""
    if not video.annotated:
        return [] if is_labelled else [(0.0, duration_s)]
    cut = ((max(start, 0.0), min(end, duration_s)) for start, end in annotated_time.gaps(video.annotated))
    return [(start, end) for start, end in cut if end > start]


def labelled(videos: Iterable[AnnotatedVideo]) -> dict[str, list[Span]]:
    """The annotated stretches of videos, by id; without those that state neither intervals nor their length."""
    found = {video.id: list(video.annotated) or [(0.0, video.duration_s or 0.0)] for video in videos}
    return {video_id: spans for video_id, spans in found.items() if spans[-1][1] > 0}


def tiled(spans: Iterable[Span], window_s: float) -> list[Span]:
    """Windows of `window_s` seconds from the start of each stretch.

    What is left at its end is a window of its own if it has half of that length, or if it is all there is; otherwise
    the last window is longer by it.
    """
    found = []
    for start, end in spans:
        number = max(1, math.floor((end - start) / window_s + 0.5))
        found += [(start + i * window_s, start + (i + 1) * window_s) for i in range(number - 1)]
        found.append((start + (number - 1) * window_s, end))
    return found


def usual_window_s(videos: Iterable[AnnotatedVideo], subset: str) -> tuple[float, float]:
    """The default length of windows, and the longest action of the subset, both in seconds.

    An action should fit into a window: that of the longest one in whole seconds, and 30 s at least.
    """
    own = (video for video in videos if video.subset.lower() == subset.lower())
    longest = max((one.end_s - one.start_s for video in own for one in video.actions), default=0.0)
    return max(_USUAL_WINDOW_S, float(math.ceil(longest))), longest


def intervals(annotations: Annotations, picked: Iterable[tuple[str, Span]]) -> dict[str, tuple[Span, ...]]:
    """The annotated time of every partly annotated video once the windows that were picked are annotated too."""
    found = {video.id: list(video.annotated) for video in annotations.videos.values() if video.annotated}
    for video_id, window in picked:
        found.setdefault(video_id, []).append(window)
    return {video_id: annotated_time.merged(spans) for video_id, spans in sorted(found.items())}


def by_place(annotations: Annotations) -> dict[Path, AnnotatedVideo]:
    """The videos of a dataset by the resolved paths of their files."""
    return {video.file.resolve(): video for video in annotations.videos.values() if video.file is not None}


def known_video(
    annotations: Annotations, places: Mapping[Path, AnnotatedVideo], video_id: str, file: Path
) -> AnnotatedVideo | None:
    """The video of a dataset that a file is: by its place, or by its name where the size is the same, or not known."""
    known = places.get(file.resolve()) or annotations.videos.get(video_id)
    if known is None or known.file is None or not (known.file.is_file() and file.is_file()):
        return known
    return known if known.file.stat().st_size == file.stat().st_size else None


def of_files(
    annotations: Annotations, training: str, held: Mapping[str, str], files: Mapping[str, Path]
) -> tuple[Footage, dict[str, Path]]:
    """What is left out of some files, and the paths of the others by the ids of their videos.

    The footage has those of these videos that the dataset has too; their stretches are known once they are read.
    """
    own = of_dataset(annotations, training, held)
    reasons = {video_id: why for why, ids in own.left_out.items() for video_id in ids}
    found, used, places = Footage(), dict[str, Path](), by_place(annotations)
    for video_id, path in files.items():
        known = known_video(annotations, places, video_id, path)
        if known is None and video_id in annotations.videos:
            found.left_out["whose name another video of the dataset has"].append(str(path))
        elif known is not None and reasons.get(known.id, _UNKNOWN) != _UNKNOWN:
            found.left_out[reasons[known.id]].append(known.id)
        else:
            used[known.id if known else video_id] = path
    found.videos = [annotations.videos[video_id] for video_id in used if video_id in annotations.videos]
    return found, used

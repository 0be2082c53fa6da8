"""The actions that users list, in any form that is read: names of videos matched, points and tiers settled."""

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from actloc import console
from actloc.annotations import annotated_time, own_files, tiers
from actloc.annotations.model import Action, AnnotatedVideo, are_repeats, in_reading_order
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.subsets import meanings
from actloc.annotations.uncollected import uncollected
from actloc.annotations.video_names import VideoNames
from actloc.errors import Problem
from actloc.files import is_unsafe_id


@dataclass
class OwnActions:
    """The annotated videos by id, the place of each action in its file, and what is wrong."""

    form: str
    """The name of the form that the file has."""
    title: str
    """What a file of this form is."""
    left_out: list[Problem]
    """What cannot be used."""
    notes: list[str]
    """What is not as the file has it."""
    videos: dict[str, AnnotatedVideo] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """The file name of each video by its id, as the annotations have it."""
    scores: dict[tuple[str, int], float] = field(default_factory=dict)
    """Of predictions: the score of action i of a video."""
    files: list[Path] = field(default_factory=list)
    """All files that were read."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """Where each action of a video is written."""
    problems: list[Problem] = field(default_factory=list)
    """What the user must correct first."""
    wrong: list[Problem] = field(default_factory=list)
    """Those of `left_out` that someone wrote by hand, to be corrected with the problems if there are any."""


@uncollected()
def read(
    path: Path,
    subsets: list[str] | None,
    names: VideoNames,
    absent: str,
    reading: Reading | None = None,
    skip: Collection[Path] = (),
) -> OwnActions:
    """Reads a file or a folder, without actions that it lists twice, which it warns of.

    `names` knows the videos that there are; `absent` begins the problem of another name.

    `subsets` are those that rows may be in, None: any. `skip` are files and folders that are no annotations. Raises
    UserError for what cannot be read at all.
    """
    reading = reading or Reading()
    found = own_files.read(path, reading, skip)
    listed = found.listed
    statements = [row for row in listed.rows if not row.has_action]
    listed.rows = [row for row in listed.rows if row.has_action]
    listed.rows = tiers.chosen(listed.rows, reading.settings.tiers, f"{reading.prefix}tiers", path) + statements
    result = OwnActions(found.form.name, found.form.title, listed.left_out, listed.notes, files=found.files)
    result.problems += listed.problems
    _name_by_file(listed, names)
    stated = _stated(listed, names, absent, result.problems)
    of_videos = _Rows(subsets, names, absent, result)
    for row in listed.rows:
        of_videos.state(row)
        if not row.has_action:
            continue
        why = row.unusable or _wrong_with(row, reading)
        if why:
            listed.leave_out(row.where, why)
        elif row.is_point:
            _add_point(row, of_videos, listed, reading)
        else:
            of_videos.add(row)
    listed.rows = []  # there may be a million
    of_videos.report_unknown_subsets()
    if found.form.is_written_by_hand:
        _judge_wrong_rows(path, result, of_videos.num_rows)
    annotated = of_videos.annotated
    if reading.settings.annotated is not None:
        of_file, wrong = annotated_time.read_file(
            reading.settings.annotated, f"{reading.prefix}annotated", names, absent
        )
        result.problems += wrong
        for video_id, listed_intervals in of_file.items():
            annotated.setdefault(video_id, []).extend(listed_intervals)
    for video_id in {**stated, **of_videos.actions, **annotated}:
        video = stated.get(video_id) or AnnotatedVideo(video_id, "")
        subset = of_videos.meant(video.subset) or of_videos.subset_of.get(video_id, "")
        actions = tuple(of_videos.actions.get(video_id, ()))
        intervals = *video.annotated, *annotated.get(video_id, ())
        result.videos[video_id] = replace(video, id=video_id, subset=subset, actions=actions, annotated=intervals)
    _drop_repeats(path, result)
    return result


def _wrong_with(row: Row, reading: Reading) -> str:
    """Why a row cannot be an action of any video; empty if it can."""
    if not row.video.strip() or not row.label.strip():
        return f"the {'label' if row.video.strip() else 'video'} is empty"
    is_finite = math.isfinite(row.start_s) and math.isfinite(row.end_s)
    if is_finite and (row.is_point or 0 <= row.start_s < row.end_s):
        return ""
    what = f"{row.label} {row.start_s:g}-{row.end_s:g} s"
    if not is_finite:
        return f"{what} is not finite"
    if row.start_s < 0:
        settings = reading.settings
        counts = f"; if frames count from 0, set {reading.prefix}first_frame=0"
        may_count = settings.annotations_fps is not None and settings.first_frame != 0
        return f"{what} starts before the video{counts if may_count else ''}"
    return f"{what} {'has no length' if row.end_s == row.start_s else 'ends before it starts'}"


def _judge_wrong_rows(path: Path, result: OwnActions, num_others: int) -> None:
    """Makes problems of wrong rows if they are the most: then all rows may be meant otherwise than they are read."""
    number = len(result.left_out)
    result.left_out.sort(key=in_reading_order)
    if number <= num_others:
        result.wrong = result.left_out
        return
    counted = f"{number} of {console.count(number + num_others, 'row')}"
    result.problems += [Problem(str(path), f"{counted} cannot be used, too many to leave out"), *result.left_out]
    result.left_out = []


def _drop_repeats(path: Path, found: OwnActions) -> None:
    """Keeps the first of actions that are listed twice, and warns of the others."""
    scores: dict[tuple[str, int], float] = {}
    repeats: list[str] = []
    for video_id, video in found.videos.items():
        places, is_repeat = found.places.get(video_id, []), are_repeats(video.actions)
        repeats += itertools.compress(places, is_repeat)
        kept = [number for number, repeated in enumerate(is_repeat) if not repeated]
        for place, number in enumerate(kept):
            if (video_id, number) in found.scores:
                scores[video_id, place] = found.scores[video_id, number]
        if len(kept) < len(video.actions):
            found.places[video_id] = [places[number] for number in kept]
            found.videos[video_id] = replace(video, actions=tuple(video.actions[number] for number in kept))
    found.scores = scores
    if repeats:
        verb = "is" if len(repeats) == 1 else "are"
        listed = console.first_ten(where.removeprefix(f"{path}:").strip() for where in repeats)
        console.warn(f"{console.count(len(repeats), 'action')} of {path} {verb} listed twice, and taken once: {listed}")


def _label(text: str) -> str:
    """A label without blanks at its ends, and with accents as one letter: macOS writes them apart."""
    return unicodedata.normalize("NFC", text.strip())


def _name_by_file(listed: Listed, names: VideoNames) -> None:
    """Names the videos whose id is not there by the file that is stated beside it, as in what `prepare` writes."""
    called: dict[str, str] = {}
    for name, video in listed.videos.items():
        file = video.file.name if video.file is not None and names.find(name) is None else ""
        if file and names.find(file) is not None and file not in listed.videos and file not in called.values():
            called[name] = file
    if called:
        listed.videos = {called.get(name, name): video for name, video in listed.videos.items()}
        listed.video_places = {called.get(name, name): where for name, where in listed.video_places.items()}
        listed.rows = [row._replace(video=called.get(row.video, row.video)) for row in listed.rows]


def _stated(listed: Listed, names: VideoNames, absent: str, problems: list[Problem]) -> dict[str, AnnotatedVideo]:
    """The videos that the file lists by name, by their ids; those that are not there are problems, once each."""
    stated: dict[str, AnnotatedVideo] = {}
    written: dict[str, str] = {}
    for name, video in listed.videos.items():
        where, video_id = listed.video_places[name], names.find(name)
        if is_unsafe_id(name) or video_id is None:
            unsafe = f"the id {name!r} is empty or would leave its folder"
            problems.append(Problem(where, unsafe if is_unsafe_id(name) else f"{absent} {name}{names.nearest(name)}"))
        elif written.setdefault(video_id, name) != name:
            problems.append(Problem(where, f"{name} is the same video as {written[video_id]}"))
        else:
            stated[video_id] = video
    refused = listed.videos.keys() - written.values()
    listed.rows = [row for row in listed.rows if row.video not in refused]
    used = {row.video for row in listed.rows}
    for name, duration_s in listed.durations_s.items():
        video_id = names.find(name) if name in used else None
        if video_id is not None:
            rate = listed.rates.get(name)
            stated.setdefault(video_id, AnnotatedVideo(video_id, "", duration_s=duration_s, fps=rate))
    return stated


def _add_point(row: Row, of_videos: "_Rows", listed: Listed, reading: Reading) -> None:
    """A moment becomes an action of `point_seconds` around it, within its video; without this, it is left out."""
    length_s = reading.settings.point_seconds
    if length_s is None:
        setting = f"{reading.prefix}point_seconds"
        listed.leave_out(row.where, f"{row.label} at {row.start_s:g} s is a point; {setting} makes it an action")
        return
    facts = reading.facts(row.video)
    stated_s = listed.durations_s.get(row.video) or listed.ends_s.get(row.video, math.inf)
    end_s = (facts.duration_s if facts else None) or stated_s
    within = max(0.0, row.start_s - length_s / 2), min(end_s, row.start_s + length_s / 2)
    if within[1] <= within[0]:
        listed.leave_out(row.where, f"{row.label} at {row.start_s:g} s is after the end of the video at {end_s:g} s")
    else:
        of_videos.add(row._replace(start_s=within[0], end_s=within[1]))


class _Rows:
    """Gathers rows by video; those that do not fit go to the problems of the result."""

    def __init__(self, subsets: list[str] | None, names: VideoNames, absent: str, result: OwnActions) -> None:
        self._subsets, self._names, self._absent = subsets, names, absent
        self._result = result
        self.actions: dict[str, list[Action]] = {}
        self.annotated: dict[str, list[annotated_time.Span]] = {}
        self.subset_of: dict[str, str] = {}
        # cells with a path or an extension: two videos with one id would differ in them
        self._written: dict[str, str] = {}
        self._reported: set[str] = set()
        self._meanings = {} if subsets is None else meanings(subsets)
        self._unknown: Counter[str] = Counter()
        self._first_with: dict[str, str] = {}
        self._ids: dict[str, str | None] = {}
        self.num_rows = 0

    def state(self, row: Row) -> None:
        """Adds the annotated time that a row states to that of its video."""
        video_id = self._video_of(row) if row.annotated else None
        if video_id is not None:
            self.annotated.setdefault(video_id, []).extend(row.annotated)

    def add(self, row: Row) -> None:
        """Adds a row to those of its video; that it does not fit the videos or other rows is a problem."""
        self.num_rows += 1
        video_id = self._video_of(row)
        if video_id is None:
            return
        listed = self.actions.setdefault(video_id, [])
        self._result.places.setdefault(video_id, []).append(row.where)
        if row.score is not None:
            self._result.scores[video_id, len(listed)] = row.score
        listed.append(Action(row.start_s, row.end_s, _label(row.label)))

    def _video_of(self, row: Row) -> str | None:
        """The id of a row's video, None with a problem if there is none; checks its subset and its name."""
        problems, where = self._result.problems, row.where
        if row.video not in self._ids:
            self._ids[row.video] = self._names.find(row.video)
        video_id = self._ids[row.video]
        if video_id is None and _is_unsafe(row.video):
            problems.append(Problem(where, f"the id {row.video!r} is empty or would leave its folder"))
        elif video_id is None and row.video not in self._reported:
            problems.append(Problem(where, f"{self._absent} {row.video}{self._names.nearest(row.video)}"))
            self._reported.add(row.video)
        if video_id is None:
            return None
        subset = self.meant(row.subset)
        if subset and self._subsets is not None and subset not in self._subsets:
            self._unknown[subset] += 1
            self._first_with.setdefault(subset, where)
        elif subset and self.subset_of.setdefault(video_id, subset) != subset:
            other = self.subset_of[video_id]
            problems.append(Problem(where, f"{video_id} is in {other!r} above and in {subset!r} here"))
        if video_id != row.video and self._written.setdefault(video_id, row.video) != row.video:
            problems.append(Problem(where, f"{video_id} is {self._written[video_id]} above and {row.video} here"))
        if video_id not in self._result.names:
            self._result.names[video_id] = re.split(r"[/\\]", row.video)[-1]
        return video_id

    def meant(self, subset: str) -> str:
        """The subset that a word means."""
        return self._meanings.get(subset.lower(), subset)

    def report_unknown_subsets(self) -> None:
        """Adds a problem for each."""
        for subset, where in self._first_with.items():
            others = self._unknown[subset] - 1
            more = f", also in {console.count(others, 'more row')}" if others else ""
            nearest = console.nearest(subset, self._subsets or ())
            self._result.problems.append(Problem(where, f"unknown subset {subset!r}{more}{nearest}"))


def _is_unsafe(name: str) -> bool:
    """Whether a cell is no name, or leaves a folder; absolute paths may be those of another machine."""
    return is_unsafe_id(re.split(r"[/\\]", name)[-1]) or ".." in re.split(r"[/\\]", name)

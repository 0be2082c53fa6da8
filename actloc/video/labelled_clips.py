"""Labelled clips as annotated videos: finds their files, reads their facts, lists what is missing; writes lists."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import model
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import Problem, UserError
from actloc.video.base import FRAMES_FILE, UNLISTED_FPS
from actloc.video.clip_files import ClipFiles, frame_numbers, is_bare_folder_of_frames, unique_ids
from actloc.video.folder import with_all_facts
from actloc.video.known_facts import KnownFacts

_MISSING = "missing_videos.txt"


def annotated(listed: ClipList, found: ClipFiles, folder: Path, *, allow_missing: bool) -> Annotations:
    """The clips that `found` has, each a video whose actions, one for each label, last as long as the clip.

    Clips that are parts of one video become its actions. Videos that are missing or cannot be read are listed in
    `folder` and left out, or refused unless `allow_missing`. Raises UserError with all problems of the lists.
    """
    file_of = found.find(dict.fromkeys(clip.path for clip in listed.clips))
    ids = unique_ids(file_of.values(), found.folder)
    clips = [clip for clip in listed.clips if clip.path in file_of]
    unlisted = sorted({str(path) for path in found.found} - {str(path) for path in file_of.values()})
    if unlisted:
        is_or_are = "is" if len(unlisted) == 1 else "are"
        counted = f"{len(unlisted)} of {console.count(len(found.found), 'clip')} in {found.folder}"
        console.say(f"{counted} {is_or_are} not listed in {listed.source}, and not used: {console.first_ten(unlisted)}")
    videos, problems = _videos(clips, file_of, ids)
    model.raise_problems(listed.source, listed.problems + problems, folder)
    missing = {clip.path: "no such video" for clip in listed.clips if clip.path not in file_of}
    if not allow_missing:  # before headers are read, which takes an hour for 300,000 videos
        _report_missing(listed, missing, found.folder, folder, allow_missing=False)
    unreadable: dict[str, str] = {}
    videos = _with_facts(videos, folder, unreadable)
    for clip in clips:
        video = videos[ids[file_of[clip.path]]]
        wanted = (clip.frames or 0) + (clip.offset or 0)
        if is_bare_folder_of_frames(_file(video)) and (video.frames or 0) < wanted and video.id not in unreadable:
            unreadable[video.id] = f"has {console.count(video.frames or 0, 'frame')}, and {clip.where} says {wanted}"
    missing |= {str(videos[video_id].file): reason for video_id, reason in unreadable.items()}
    _report_missing(listed, missing, found.folder, folder, allow_missing=allow_missing)
    actions, places, problems = _actions(clips, file_of, ids, videos)
    readable = {
        video_id: replace(video, actions=actions[video_id])
        for video_id, video in sorted(videos.items())
        if video_id not in unreadable
    }
    result = Annotations(listed.classes, readable)
    model.raise_problems(listed.source, problems + model.check(result, places), folder)
    return model.clip_past_end(result)


def _report_missing(
    listed: ClipList, missing: dict[str, str], videos: Path, folder: Path, *, allow_missing: bool
) -> None:
    """Lists what is missing in a file; raises UserError if that is everything, or more than `allow_missing` allows."""
    if not missing:
        files.remove(folder / _MISSING)
        return
    names = sorted(missing)
    total = len({clip.path for clip in listed.clips})
    if len(missing) == total:
        raise UserError(
            f"{videos} has no readable video of {console.count(total, 'clip')} in {listed.source}, such as "
            f"{console.first_ten(names)}.",
            "Expected videos, or folders of frames such as img_00001.jpg, by these names, at any depth in the folder.",
            "Set dataset.videos to the folder of the videos.",
        )
    listing = folder / _MISSING
    files.write_text(listing, "".join(f"{name}: {missing[name]}\n" for name in names))
    is_or_are = "is" if len(missing) == 1 else "are"
    counted = f"{len(missing)} of {console.count(total, 'video')} {is_or_are} missing or unreadable"
    if not allow_missing:
        raise UserError(
            f"{counted}: {console.first_ten(names)}. All are listed, with the reason, in {listing}.",
            f"Expected every clip in {listed.source} to have a readable video, in {videos} or in folders in it.",
            "Add or replace them; or leave them out and continue: dataset.allow_missing=true",
        )
    console.warn(f"{counted}, and left out of training and evaluation; {listing} lists them")


def _videos(
    clips: list[LabelledClip], file_of: dict[str, Path], ids: dict[Path, str]
) -> tuple[dict[str, AnnotatedVideo], list[Problem]]:
    """The videos by id, without facts and actions, and the clips that contradict earlier ones."""
    first: dict[str, LabelledClip] = {}
    videos, problems = {}, []
    for clip in clips:
        video_id = ids[file_of[clip.path]]
        if files.is_unsafe_id(video_id):
            problems.append(Problem(clip.where, f"the id {video_id!r} is empty or would leave its folder"))
            continue
        earlier = first.setdefault(video_id, clip)
        if earlier.path != clip.path:
            problems.append(Problem(clip.where, f"{clip.path} is the same file as {earlier.path} ({earlier.where})"))
        if earlier.subset != clip.subset:
            what = f"{clip.path} is in {clip.subset!r} here and in {earlier.subset!r} in {earlier.where}"
            problems.append(Problem(clip.where, what))
        videos[video_id] = AnnotatedVideo(video_id, earlier.subset, file=file_of[clip.path])
    return videos, problems


def _with_facts(
    videos: dict[str, AnnotatedVideo], folder: Path, unreadable: dict[str, str]
) -> dict[str, AnnotatedVideo]:
    """The videos with duration, rate and number of frames; the reason for each that cannot be read."""
    bare = {video_id: video for video_id, video in videos.items() if is_bare_folder_of_frames(_file(video))}
    known = {}
    for video_id, video in bare.items():
        numbers = frame_numbers(_file(video))
        frames = max(numbers)
        if 0 in numbers:
            unreadable[video_id] = "the frames are numbered from 0; expected numbers from 1"
        elif len(numbers) < frames:
            unreadable[video_id] = f"has {len(numbers)} of {console.count(frames, 'frame')}"
        known[video_id] = replace(video, duration_s=round(frames / UNLISTED_FPS, 6), fps=UNLISTED_FPS, frames=frames)
    others = {video_id: video for video_id, video in videos.items() if video_id not in bare}
    facts = with_all_facts(others, unreadable, KnownFacts(folder)) if others else {}
    for video_id, video in facts.items():
        frames = max(round((video.duration_s or 0) * (video.fps or UNLISTED_FPS)), 1)
        known[video_id] = replace(video, fps=video.fps or UNLISTED_FPS, frames=frames)
        if video_id not in unreadable and not video.duration_s:
            unreadable[video_id] = "its header states no duration"
    return known


def _actions(
    clips: list[LabelledClip], file_of: dict[str, Path], ids: dict[Path, str], videos: dict[str, AnnotatedVideo]
) -> tuple[dict[str, tuple[Action, ...]], dict[tuple[str, int], str], list[Problem]]:
    """The actions of each video, the line of each, and lines that repeat one."""
    actions: dict[str, list[Action]] = {video_id: [] for video_id in videos}
    places, problems = {}, []
    for clip in clips:
        video = videos[ids[file_of[clip.path]]]
        start_s, end_s = 0.0, video.duration_s or 0.0
        if clip.offset is not None and clip.frames is not None:
            fps = video.fps or UNLISTED_FPS
            start_s, past_s = clip.offset / fps, (clip.offset + clip.frames) / fps
            end_s = past_s if past_s - end_s > 1 / fps else min(past_s, end_s)  # headers round to a frame
        for label in clip.labels:
            action = Action(start_s, end_s, label)
            if action in actions[video.id]:
                problems.append(Problem(clip.where, f"{clip.path} is listed above as {label}"))
                continue
            places[video.id, len(actions[video.id])] = clip.where
            actions[video.id].append(action)
    return {video_id: tuple(listed) for video_id, listed in actions.items()}, places, problems


def write_lists(annotations: Annotations, folder: Path) -> None:
    """Writes classes.txt and, for each subset, SUBSET_list.txt with lines `path frames label`, for other code to read.

    A clip of several classes has several labels. If clips are parts of videos, lines are `path offset frames label`.
    """
    number = {name: index for index, name in enumerate(annotations.classes)}
    lines: dict[str, list[str]] = {}
    is_whole = all(_is_whole(video) for video in annotations.videos.values())
    for video in annotations.videos.values():
        fps, file = video.fps or UNLISTED_FPS, _file(video).absolute()
        num_frames, listed = _num_frames(file, video), lines.setdefault(video.subset, [])
        if is_whole:
            listed.append(f"{file} {num_frames} {' '.join(str(number[action.label]) for action in video.actions)}")
            continue
        for action in video.actions:
            offset, end = round(action.start_s * fps), min(round(action.end_s * fps), num_frames)
            listed.append(f"{file} {offset} {max(end - offset, 1)} {number[action.label]}")
    files.write_text(folder / "classes.txt", _text(annotations.classes))
    for subset, listed in lines.items():
        files.write_text(folder / f"{files.safe_name(subset)}_list.txt", _text(listed))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _is_whole(video: AnnotatedVideo) -> bool:
    return all(action.start_s == 0 and action.end_s == video.duration_s for action in video.actions)


def _num_frames(file: Path, video: AnnotatedVideo) -> int:
    """Frames that `prepare` extracted are counted in frames.json; a header's may be one more or fewer."""
    if (file / FRAMES_FILE).is_file():
        listed = files.read_json(file / FRAMES_FILE)
        count = listed.get("count") if isinstance(listed, dict) else None
        return count if isinstance(count, int) else video.frames or 1  # reading the frames reports what is wrong
    return video.frames or 1


def _file(video: AnnotatedVideo) -> Path:
    assert video.file is not None, f"{video.id} was found by its file"
    return video.file

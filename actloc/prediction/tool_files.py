"""Segments that a run found as files of annotation tools, which open them as pre-annotations (`--format`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import writing
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.reading import KIND
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.annotations.writing import WritableForm
from actloc.errors import UserError, VideoError
from actloc.reports import outputs
from actloc.settings import parts
from actloc.video.reader import probe

ALWAYS = ("json", "csv", "srt")
"""What `predict` writes with or without `--format`; a name of these adds nothing."""
_STEM = "predictions_"


def forms_named(text: str, always: Sequence[str] = ALWAYS, command: str = "predict") -> list[WritableForm]:
    """The forms in a list with commas, each once, without those that the command always writes.

    Raises UserError for a name that is none of the forms that are written.
    """
    known = {_shown(form): form for form in _writable()}
    found: dict[str, WritableForm] = {}
    for word in filter(None, (one.strip() for one in text.split(","))):
        name = word.replace("_", "-").lower()
        form = known.get(name) or next((one for one in known.values() if one.name.replace("_", "-") == name), None)
        if form is None and name not in always:
            every = [*always, *(one for one in known if one not in always)]
            raise UserError(
                f"--format {word} is no form that {command} writes{console.nearest(name, every, lists_known=False)}",
                f"Expected some of {', '.join(every)}, with commas between them.",
                "Correct the name; a form of your own is loaded with --code FILE",
            )
        if form is not None and _shown(form) not in always:
            found[form.name] = form
    return list(found.values())


def _writable() -> list[WritableForm]:
    forms: Iterable[WritableForm] = (parts.find(KIND, name).Config() for name in parts.names(KIND))
    return [form for form in forms if form.suffix]


def _shown(form: WritableForm) -> str:
    return form.short_name or form.name.replace("_", "-")


def names_of(forms: Sequence[WritableForm], video_ids: Sequence[str]) -> list[str]:
    """The names of the files that `write` makes of the results of these videos."""
    found: list[str] = []
    for form in forms:
        if form.has_file_per_video:
            found += [f"{files.safe_name(video_id)}{form.suffix}" for video_id in video_ids]
        else:
            found += [path.name for path in form.write([], _of_all(Path(), form))]
    return found


def is_name_of_any(name: str) -> bool:
    """Whether a file of `predict` may be one of these: an earlier call may have named other forms."""
    return name.startswith(_STEM) or any(name.endswith(form.suffix) for form in _writable() if form.has_file_per_video)


def with_rates(videos: Mapping[Path, WrittenVideo]) -> list[WrittenVideo]:
    """The videos with the rates of their files, by path; without a rate where a file cannot be read."""
    return [replace(video, fps=_rate(path)) for path, video in videos.items()]


def of_video(video: AnnotatedVideo, segments: Iterable[Segment], file: Path | None = None) -> WrittenVideo:
    """Segments of a video, by its own or by another file, with the rate of this file, or else the stated one."""
    path = file or video.file
    name = path.name if path else video.id
    rate = (_rate(path) if path else None) or video.fps
    return WrittenVideo(video.id, name, tuple(segments), video.duration_s, rate)


def write_in_place(forms: Sequence[WritableForm], output: Path, videos: Sequence[WrittenVideo]) -> None:
    """Writes the videos in place of those of an earlier call; files that somebody changed since then stay."""
    names = names_of(forms, [video.id for video in videos])
    outputs.remove_ours(output, lambda name: is_name_of_any(name) and name not in names)
    if not names:
        return
    with outputs.recording([output / name for name in names]):
        write(forms, output, videos)


def write(forms: Sequence[WritableForm], output: Path, videos: Sequence[WrittenVideo]) -> None:
    """Writes the videos to the folder `output` in each form.

    A video without a rate is left out of forms that count frames, with a warning.
    """
    if not forms:
        return
    listed = [writing.printable(video) for video in videos]
    for form in forms:
        used = [video for video in listed if video.fps or not form.counts_frames]
        if len(used) < len(listed):
            without = [video.name for video in listed if not video.fps]
            videos_are = console.count(len(without), "video is", "videos are")
            console.warn(
                f"{videos_are} left out of {form.title}, which counts frames: the rate is not known, because the file "
                f"cannot be read any more: {console.first_ten(without)}"
            )
        if form.has_file_per_video:
            for video in used:
                for path, text in form.write([video], output / f"{files.safe_name(video.id)}{form.suffix}").items():
                    files.write_text(path, text)
        else:
            for path, text in form.write(used, _of_all(output, form)).items():
                files.write_text(path, text)
    names = [_shown(form) for form in forms]
    console.say(f"Wrote {', '.join(names)} for annotation tools to {output}")


def _of_all(output: Path, form: WritableForm) -> Path:
    return output / f"{_STEM}{form.name}{form.suffix}"


def _rate(path: Path) -> float | None:
    try:
        return probe(path, unlisted_folders=True).fps
    except VideoError:
        return None

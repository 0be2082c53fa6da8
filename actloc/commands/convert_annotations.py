"""`actloc convert-annotations IN OUT --form FORM`: annotations of one tool as files of another one."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import annotated_time, left_out, model, own_actions, writing
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.own_actions import OwnActions
from actloc.annotations.reading import Reading, ReadingSettings
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.annotations.video_names import VideoNames
from actloc.errors import UserError
from actloc.reports import outputs
from actloc.settings import parts, yaml_text
from actloc.settings.validation import validated

_SECTION = "dataset"


class Settings(ReadingSettings):
    """The settings of reading, and the videos."""

    videos: Path | None = None
    """The folder of the videos, for their lengths and rates; null: those are not known."""


def run(
    source: Path,
    target: Path,
    form: str,
    overrides: Sequence[str],
    code: Sequence[Path] = (),
    *,
    overwrite: bool = False,
) -> int:
    """Reads all of `source`, then writes `target`; nothing is written if anything is wrong."""
    parts.use_code(code)
    written_form = writing.named(form)
    settings = checked(overrides)
    if not source.exists():
        raise UserError(f"{source} does not exist.", "Expected a file or folder of annotations.", "Check the path.")
    listed, annotations, _ = read(source, settings, (target,))
    texts = writing.texts(written_form, _videos(listed, annotations, settings), target)
    _write(texts, overwrite=overwrite)
    parts.warn_of_unused_code()
    num_actions = sum(len(video.actions) for video in annotations.videos.values())
    paths = list(texts)
    wrote = console.first_ten(paths) if target in texts else f"{console.count(len(paths), 'file')} in {target}"
    console.result(f"Wrote {wrote}")
    partly = [video.id for video in annotations.videos.values() if video.annotated]
    if partly and not written_form.keeps_annotated_time:
        of = console.count(len(partly), "partly annotated video")
        console.warn(
            f"{written_form.title} cannot say which time is annotated, so that of {of} is not written: "
            f"{console.first_ten(partly)}. To keep it, write a table: --form csv"
        )
    left = f"left out {left_out.summary(len(listed.left_out), annotations)}" if listed.left_out else "nothing left out"
    console.result(
        f"Read {listed.form} ({listed.title}): {console.count(len(annotations.videos), 'video')}, "
        f"{console.count(num_actions, 'action')} of {console.count(len(annotations.classes), 'class', 'classes')}; "
        f"{left}"
    )
    console.emit(
        "done",
        form=listed.form,
        videos=len(annotations.videos),
        actions=num_actions,
        classes=list(annotations.classes),
        left_out=[str(one) for one in listed.left_out],
        files=[str(path) for path in paths],
    )
    return 0


def checked(overrides: Sequence[str], command: str = "convert-annotations") -> Settings:
    """The settings of reading that were typed, with `dataset.` before their names or without; raises UserError."""
    typed = [one if one.partition("=")[0].startswith(f"{_SECTION}.") else f"{_SECTION}.{one}" for one in overrides]
    document = yaml_text.of_overrides(typed)
    others = sorted(document.data.keys() - {_SECTION})

    def suggest(name: str, known: Iterable[str]) -> str:
        return console.nearest(name.rpartition(".")[2], known)

    settings: Settings | None = validated(document, _SECTION, Settings, suggest)
    if settings is None or document.problems or others:
        raise UserError(
            f"{console.count(len(document.problems), 'setting')} cannot be used:\n  "
            f"{console.first_lines(one.what.removeprefix(f'{_SECTION}.') for one in document.problems)}",
            f"Expected some of {', '.join(Settings.model_fields)}, as in annotations_fps=25.",
            f"See what they mean: actloc {command} --help",
        )
    if settings.videos is not None and not settings.videos.is_dir():
        raise UserError(f"videos={settings.videos} is no folder.", "Expected the folder of videos.", "Check the path.")
    return settings


def read(
    source: Path, settings: Settings, skip: Sequence[Path]
) -> tuple[OwnActions, Annotations, dict[str, AnnotatedVideo]]:
    """What the files list, their actions with the facts of the videos, and every video that is at hand.

    Raises UserError for what cannot be used; what is left out is reported.
    """
    found: dict[str, Path] = {}
    if settings.videos is not None:
        from actloc.video.folder import videos_by_id  # only then is anything needed that reads videos

        found = videos_by_id(settings.videos, skip=(source,) if source.is_file() else ())
    names = VideoNames(found.keys() if settings.videos else None)

    @functools.cache
    def at_hand() -> dict[str, AnnotatedVideo]:
        if not found:
            return {}
        from actloc.video.folder import with_all_facts

        return with_all_facts({one: AnnotatedVideo(one, "", file=file) for one, file in found.items()})

    reading = Reading(settings, "", lambda name: at_hand().get(names.find(name) or ""))
    others = (*skip, *([settings.annotated] if settings.annotated else []))
    listed = own_actions.read(source, None, names, f"{settings.videos} has no video", reading, others)
    videos = {}
    for video_id in sorted(listed.videos):
        video, facts = listed.videos[video_id], at_hand().get(video_id)
        if facts:
            video = replace(video, file=facts.file, duration_s=facts.duration_s or video.duration_s, fps=facts.fps)
        videos[video_id] = video
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    annotations = Annotations(tuple(classes), videos)
    problems = listed.problems + model.check(annotations, listed.places)
    for video in videos.values():
        problems += annotated_time.problems_of(video, str(settings.annotated or source))
    if problems:
        problems += listed.wrong
    for problem in problems:
        console.detail(problem)
    if problems:
        raise UserError(
            f"{source} has {console.count(len(problems), 'problem')}:\n  {console.first_lines(problems)}",
            "Expected names of videos that are there, and 0 <= start < end <= duration in seconds.",
            f"Fix {'it' if len(problems) == 1 else 'them'}; --verbose lists all of them.",
        )
    left_out.report(listed, None)
    return listed, annotated_time.settled(model.clip_past_end(annotations)), at_hand()


def _videos(listed: OwnActions, annotations: Annotations, settings: Settings) -> list[WrittenVideo]:
    stated = settings.annotations_fps if isinstance(settings.annotations_fps, float) else None
    return [
        WrittenVideo(
            video.id,
            video.file.name if video.file else listed.names.get(video.id, video.id),
            tuple(
                Segment(one.start_s, one.end_s, one.label, listed.scores.get((video.id, number)))
                for number, one in enumerate(video.actions)
            ),
            video.duration_s,
            video.fps or stated,
            video.subset,
            video.annotated,
        )
        for video in annotations.videos.values()
    ]


def _write(texts: dict[Path, str], *, overwrite: bool) -> None:
    paths = list(texts)
    outputs.refuse_others(
        paths, overwrite=overwrite, fix="" if overwrite else "Add --overwrite, or choose another OUT."
    )
    files.make_folder(paths[0].parent)
    with outputs.recording(paths):
        for path, text in texts.items():
            files.write_text(path, text)

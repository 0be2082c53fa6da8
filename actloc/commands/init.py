"""`actloc init VIDEOS [ANNOTATIONS]`: a settings file for one's own videos, with the reason of each choice."""

import json
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from actloc import console, experiment, files
from actloc.annotations import left_out, own_files, subsets
from actloc.annotations.model import Annotations
from actloc.annotations.own_actions import OwnActions
from actloc.commands import convert_annotations, init_file
from actloc.commands.init_choices import Choices, Seen
from actloc.commands.init_file import Told
from actloc.errors import UserError
from actloc.reports import outputs
from actloc.settings import own_code, parts

_TRAINING, _EVALUATION = "train", "test"


def run(
    videos: Path,
    annotations: Path | None,
    output: Path | None,
    overrides: Sequence[str],
    code: Sequence[Path] = (),
    *,
    overwrite: bool = False,
) -> int:
    """Reads the annotations and the headers of the videos, writes the settings file; nothing else is written."""
    parts.use_code(code)
    if not videos.is_dir():
        raise UserError(f"{videos} is not a folder.", "Expected the folder of the videos.", "Check the path.")
    source = annotations or _annotations_in(videos)
    if not source.exists():
        raise UserError(f"{source} does not exist.", "Expected a file or folder of annotations.", "Check the path.")
    name = re.sub(r"[^\w.+-]+", "_", output.stem if output else videos.resolve().name).strip("_.+-") or "own"
    target = output or Path(f"{name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output is {target}.", "Expected a name that ends in .yaml.", f"Use --output {target}.yaml")
    outputs.refuse_others([target], overwrite=overwrite)
    folder = json.dumps(str(videos), ensure_ascii=False)
    settings = convert_annotations.checked([*overrides, f"videos={folder}"], "init")
    listed, found, every = convert_annotations.read(source, settings, ())
    meanings = subsets.meanings([_TRAINING, _EVALUATION])
    training = {word for word, meant in meanings.items() if meant == _TRAINING}
    seen = Seen.of(list(found.videos.values()), list(every.values()), training)
    if not seen.actions_s:
        raise UserError(
            f"{source} lists no action.",
            "Expected actions, which say what to learn.",
            "Annotate some, or check the file: actloc convert-annotations reports what it reads.",
        )
    usable = [video for video in found.videos.values() if video.actions and every[video.id].duration_s]
    if not usable:
        raise UserError(
            f"No video of {videos} that has actions can be read.",
            "Expected videos with pictures: two or more, some to learn from and the others for evaluation.",
            f"Look at what is wrong with them: actloc doctor {shlex.quote(str(videos))}",
        )
    if len(usable) == 1:
        console.warn(
            f"Actions are in one video only, {usable[0].id}, and prepare expects two or more: some to learn from, the "
            "others for evaluation. Annotate more, or cut it into several videos with annotations of their own"
        )
    chosen = Choices.of(seen)
    given = settings.model_dump(mode="json", exclude_defaults=True, exclude={"videos"})
    text = init_file.text(Told(target, name, videos, source, listed, given), seen, chosen)
    _check(text, name)
    files.make_folder(target.parent)
    with outputs.recording([target]):
        files.write_text(target, text)
    parts.warn_of_unused_code()
    _report(target, listed, found, seen, chosen)
    return 0


def _annotations_in(videos: Path) -> Path:
    """What the folder of the videos has beside them: a file, or the folder itself for several."""
    others = own_files.files_in(videos)
    if not others:
        raise UserError(
            f"{videos} has no annotations beside the videos.",
            "Expected a table of actions or the files of an annotation tool.",
            f"Name them: actloc init {shlex.quote(str(videos))} ANNOTATIONS",
        )
    return others[0] if len(others) == 1 else videos


def _check(text: str, name: str) -> None:
    """Loads the text as every command will, before it is written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        experiment.load(str(file))


def _report(target: Path, listed: OwnActions, found: Annotations, seen: Seen, chosen: Choices) -> None:
    left = f"; left out {left_out.summary(len(listed.left_out), found)}" if listed.left_out else ""
    console.result(
        f"Read {listed.form} ({listed.title}): {console.count(seen.num_videos, 'video')} of "
        f"{seen.total_s / 60:.1f} minutes, {console.count(len(seen.actions_s), 'action')} of "
        f"{console.count(len(seen.classes), 'class', 'classes')}, {seen.action_s(0.1):.2f} to "
        f"{seen.action_s(0.9):.2f} s long (without a tenth on each side){left}"
    )
    console.result(
        f"Chose {chosen.fps:g} frames per second ({chosen.step_s:g} s a step), {chosen.num_levels} levels, "
        f"{chosen.dim} channels, {chosen.epochs} epochs"
    )
    console.result(f"Wrote {target}")
    console.say(f"Next: actloc prepare {shlex.join([str(target), *own_code.options()])}")
    console.emit(
        "done",
        path=str(target),
        form=listed.form,
        videos=seen.num_videos,
        actions=len(seen.actions_s),
        classes=dict(seen.classes),
        left_out=[str(one) for one in listed.left_out],
        chosen={"fps": chosen.fps, "levels": chosen.num_levels, "dim": chosen.dim, "epochs": chosen.epochs},
    )

"""`actloc view RUN|PREDICTIONS [VIDEOS]`: serves a page on this machine that plays videos above their timelines."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.annotations import form
from actloc.commands import convert_annotations
from actloc.errors import UserError
from actloc.experiment import Experiment, is_run, is_scored, load, run_folder
from actloc.files import safe_name
from actloc.prediction.inputs import named_videos
from actloc.settings import parts
from actloc.signals import stopping_at_once
from actloc.viewer import opening
from actloc.viewer.converting import Converter, cache_folder
from actloc.viewer.viewed import ViewedSet, matched, with_files


def run(
    name: str,
    videos: Sequence[str] = (),
    *,
    subset: str | None = None,
    annotations: Path | None = None,
    port: int = 0,
    opens_browser: bool = True,
    code: Sequence[Path] = (),
) -> int:
    """Reads everything, then serves the page until Ctrl-C."""
    parts.use_code(code)
    viewed = _with_videos(_opened(name, subset, annotations), name, videos)
    from actloc.viewer import server  # needs werkzeug, which wrong arguments do without

    with stopping_at_once(is_saved=False), server.listen(port) as listening:
        converter = Converter(cache_folder())
        viewer = server.Viewer(viewed, converter)
        with closing(converter):
            serving = server.server_on(listening, viewer)
            address = server.address(serving, viewer)
            console.say(
                f"{viewed.title}: {console.count(len(viewed.videos), 'video')}, {viewed.num_files} with a file"
                f"{'' if viewed.has_truth else '; without truth'}"
            )
            console.result(address)
            console.say("Open this address in a browser on this machine; end the viewer with Ctrl-C.")
            console.emit("serving", address=address, videos=len(viewed.videos), files=viewed.num_files)
            if opens_browser and sys.stdout.isatty() and _has_screen():
                webbrowser.open(address)
            serving.serve_forever()
    return 0


def _has_screen() -> bool:
    """Whether a browser has somewhere to appear: without, webbrowser may start one in the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


def _opened(name: str, subset: str | None, annotations: Path | None) -> ViewedSet:
    path = Path(name)
    if opening.is_results(path):
        viewed = opening.results(path)
    elif path.is_dir() and opening.is_output(path):
        viewed = opening.output(path)
    elif (path.is_file() and path.suffix.lower() not in (".yaml", ".yml")) or (path / "predictions.json").is_file():
        viewed = opening.file(path)
    else:
        folder = run_folder(name)
        if not is_run(folder) and not is_scored(folder):
            raise UserError(
                f"{name} has no run yet: there is no {folder}.",
                "Expected a run that eval has scored, a folder that predict wrote, or a file of predictions.",
                f"Train and evaluate first: actloc train {name}",
            )
        experiment = _experiment(folder)
        usual = safe_name(experiment.dataset.evaluation_subset) if experiment else None
        viewed = opening.results(opening.results_of(folder, subset, usual))
    if annotations is not None:
        if not annotations.exists():
            raise UserError(
                f"{annotations} does not exist.", "Expected a file or folder of annotations.", "Check the path."
            )
        _, truth, _ = convert_annotations.read(annotations, convert_annotations.checked([]), ())
        viewed = opening.with_truth(viewed, truth.videos, subset, annotations)
    elif subset is not None and not viewed.has_truth:
        raise UserError(
            f"--subset {subset} was given, and {name} is no run.",
            "Expected a run, or --annotations with subsets.",
            "Leave out --subset, or add --annotations FILE",
        )
    return viewed


def _experiment(folder: Path) -> Experiment | None:
    """The run's experiment; None where its settings cannot be read here, such as with code that is missing."""
    try:
        return load(str(folder)) if is_run(folder) else None
    except UserError as error:
        console.detail(f"The settings of {folder} cannot be used: {error.found}")
        return None


def _with_videos(viewed: ViewedSet, name: str, videos: Sequence[str]) -> ViewedSet:
    """With the files that were named; otherwise those of the run's dataset, or those that `predict` read."""
    if videos:
        found = matched(viewed, named_videos(videos, Path(name), takes_frames=False))
        if not found:
            raise UserError(
                f"None of {console.count(len(viewed.videos), 'video')} has a file in {' '.join(videos)}.",
                f"Expected files named by their ids, such as {console.first_ten(one.id for one in viewed.videos[:3])}.",
                "Name the folder of these videos, or no folder to see timelines only.",
            )
        missing = f"No file of this name is in {' '.join(videos)}."
        return with_files(_without_files(viewed, missing), found, missing)
    around = [Path(name), *Path(name).parents[:3], _run_of(name)]  # eval/test/predictions.json is in a run, too
    experiment = next((_experiment(folder) for folder in around if folder and is_run(folder)), None)
    if experiment is None:
        return viewed
    again = f"Name the folder of the videos: actloc view {name} FOLDER"
    try:
        known = form.read(experiment.dataset.annotations_file).videos
    except UserError as error:
        return _without_files(viewed, f"{error.found} {again}")
    found = {key: video.file for key, video in known.items() if video.file is not None}
    missing = f"The dataset has no file of this video. {again}" if found else f"The dataset has no video files. {again}"
    return with_files(_without_files(viewed, missing), found, missing)


def _run_of(name: str) -> Path | None:
    try:
        return run_folder(name)
    except UserError:
        return None


def _without_files(viewed: ViewedSet, reason: str) -> ViewedSet:
    return replace(viewed, videos=[replace(video, file=None, without=reason) for video in viewed.videos])

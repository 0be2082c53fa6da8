"""A made-up dataset and run in which nothing is wrong, and faults to put into it one at a time."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actloc.annotations import form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation import scoring
from actloc.evaluation.predictions import Prediction, Predictions, write_predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import TrainedRun
from actloc.evaluation.results_files import write_results
from actloc.evaluation.scoring import Origin
from actloc.experiment import load
from actloc.store.grid_check import expected_steps
from tests.videos import Clips

CLASSES = ("jump", "run", "swim")
DURATION_S, FPS, STRIDE = 40.0, 25.0, 4
CONFIG = """\
dataset: {name: custom, folder: prepared, annotations: labels.csv}
features: {name: folders, path: features, fps: 25, clip_frames: 8, stride_frames: 4, max_steps: 256}
detector: {name: actionformer, dim: 16, num_heads: 2, windows: 5}
machine: {device: cpu}
"""
Folder = Path


def make(folder: Path) -> None:
    """24 videos of 40 s in two subsets with three actions of each class, features, and a run with good predictions."""
    (folder / "labels.csv").write_text("video,start,end,label\n")
    for name in ("made.yaml", "ckpt/made/config.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CONFIG)
    (folder / "ckpt/made/environment.json").write_text("{}")
    chance = random.Random(0)
    videos = {}
    for number in range(24):
        actions = []
        for place, label in enumerate(chance.sample(CLASSES, 3)):
            start_s = 4 + 9 * place + 3 * chance.random()
            actions.append(Action(round(start_s, 2), round(start_s + 2 + 3 * chance.random(), 2), label))
        name, subset = f"v{number:02}", "train" if number % 2 else "test"
        videos[name] = AnnotatedVideo(name, subset, tuple(actions), DURATION_S, FPS)
    annotations = Annotations(CLASSES, videos)
    form.write(folder / "prepared/annotations.json", annotations)
    (folder / "features").mkdir()
    generator = np.random.default_rng(0)
    steps = expected_steps(load(str(folder / "made.yaml")).features.spacing, DURATION_S, FPS)
    for video in videos.values():
        rows = generator.standard_normal((steps, 6)).astype(np.float32)
        np.save(folder / f"features/{video.id}.npy", rows)
    write_run(folder, good(annotations, "test"))


def good(annotations: Annotations, subset: str, chance: random.Random | None = None) -> Predictions:
    """Predictions that nearly fit the true actions of the subset, and some that fit nothing."""
    chance = chance or random.Random(1)
    found: Predictions = {}
    for video in annotations.of_subset(subset):
        listed = []
        for action in video.actions:
            start, end = (time + chance.uniform(-0.15, 0.15) for time in (action.start_s, action.end_s))
            listed.append(Prediction(action.label, chance.uniform(0.5, 1), start, end))
            wrong = chance.uniform(0, 30)
            listed.append(Prediction(chance.choice(CLASSES), chance.uniform(0, 0.4), wrong, wrong + 3))
        found[video.id] = listed
    return found


def write_run(folder: Path, found: Predictions, *, share: float = 0.0, raw: Predictions | None = None) -> None:
    """What `eval` writes."""
    config = load(str(folder / "made.yaml"))
    protocol = PROTOCOLS[config.evaluation.protocol]
    truth = scoring.truth_of(form.read(folder / "prepared/annotations.json"), "test", protocol)
    trained = TrainedRun(step=50, num_steps=50, is_finished=True, initial_share=share)
    for name, predictions in (("test", found), ("test-raw", raw)):
        if predictions is not None:
            results = folder / "ckpt/made/eval" / name
            origin = Origin("ckpt_000050", "made", "averaged" if name == "test" else "raw", 0, trained=trained)
            scored = scoring.score("custom", "test", truth, predictions, origin, config.evaluation)
            write_results(results, scored, write_predictions(results, predictions))


def _annotations(folder: Path) -> Annotations:
    return form.read(folder / "prepared/annotations.json")


def _database(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "prepared/annotations.json"
    content = json.loads(path.read_text())
    change(content["database"])
    path.write_text(json.dumps(content))


def _times(factor: float, shift_s: float) -> Callable[[Folder], None]:
    """Moves the predictions, as annotations of another clock would be moved against them."""

    def plant(folder: Path) -> None:
        found = good(_annotations(folder), "test")
        moved = {
            name: [replace(p, start_s=p.start_s * factor + shift_s, end_s=p.end_s * factor + shift_s) for p in listed]
            for name, listed in found.items()
        }
        write_run(folder, moved)

    return plant


def _moved_annotations(folder: Path) -> None:
    def move(database: dict[str, Any]) -> None:
        for video in database.values():
            for action in video["annotations"]:
                action["segment"] = [time + 3.3 for time in action["segment"]]

    _database(folder, move)


def _permuted(folder: Path) -> None:
    other = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    found = good(_annotations(folder), "test")
    write_run(folder, {name: [replace(p, label=other[p.label]) for p in listed] for name, listed in found.items()})


def _other_names(folder: Path) -> None:
    found = good(_annotations(folder), "test")
    write_run(folder, {f"v_{name}.mp4": listed for name, listed in found.items()})


def _wrong_stride(folder: Path) -> None:
    (folder / "made.yaml").write_text(CONFIG.replace("stride_frames: 4", "stride_frames: 8"))
    shutil.copy(folder / "made.yaml", folder / "ckpt/made/config.yaml")


def _averaged(folder: Path, share: float = 0.95) -> None:
    chance, annotations = random.Random(2), _annotations(folder)
    names = [video.id for video in annotations.of_subset("test")]
    at = [chance.uniform(0, 30) for _ in names]
    poor = {name: [Prediction("run", 0.1, start, start + 3)] for name, start in zip(names, at, strict=True)}
    write_run(folder, poor, share=share, raw=good(annotations, "test"))


def _feature(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Folder], None]:
    def plant(folder: Path) -> None:
        for file in sorted((folder / "features").glob(name)):
            np.save(file, change(np.load(file)))

    return plant


def _not_finite(rows: np.ndarray) -> np.ndarray:
    rows[3, 2] = np.nan
    return rows


def _constant(rows: np.ndarray) -> np.ndarray:
    rows[:, 2:] = 0.5
    return rows


def _copied_features(folder: Path) -> None:
    rows = np.load(folder / "features/v01.npy")
    noise = np.random.default_rng(5).standard_normal(rows.shape).astype(np.float32)
    np.save(folder / "features/v04.npy", rows + 0.01 * noise)


def _copied_file(folder: Path) -> None:
    (folder / "videos").mkdir()
    for name in ("v01", "v02"):
        shutil.copy(Path(folder / "clip.mp4"), folder / f"videos/{name}.mp4")

    def name_files(database: dict[str, Any]) -> None:
        for name in ("v01", "v02"):
            database[name]["file"] = f"videos/{name}.mp4"
            # so that the files, which are shorter, are not a fault of their own
            database[name]["duration"], database[name]["annotations"] = None, database[name]["annotations"][:2]

    _database(folder, name_files)


def _segment(
    change: Callable[[list[dict[str, Any]]], None], videos: tuple[str, ...] = ("v03",)
) -> Callable[[Folder], None]:
    def plant(folder: Path) -> None:
        _database(folder, lambda database: [change(database[name]["annotations"]) for name in videos])  # type: ignore[func-returns-value]

    return plant


def _beyond(listed: list[dict[str, Any]]) -> None:
    listed[0]["segment"] = [38, 55]


def _empty(listed: list[dict[str, Any]]) -> None:
    listed[0]["segment"] = [5, 5]


def _twice(listed: list[dict[str, Any]]) -> None:
    listed.append(dict(listed[0]))


def _overlapping(listed: list[dict[str, Any]]) -> None:
    start, end = listed[0]["segment"]
    listed.append({**listed[0], "segment": [start + 1, end + 1]})


def _unlearned(folder: Path) -> None:
    def leave_out(database: dict[str, Any]) -> None:
        for video in database.values():
            if video["subset"] == "train":
                video["annotations"] = [one for one in video["annotations"] if one["label"] != "swim"]

    _database(folder, leave_out)


def _no_test(folder: Path) -> None:
    def rename(database: dict[str, Any]) -> None:
        for video in database.values():
            video["subset"] = "train"

    _database(folder, rename)


def _few(folder: Path) -> None:
    def leave_out(database: dict[str, Any]) -> None:
        kept = 0
        for video in database.values():
            if video["subset"] == "train":
                listed = video["annotations"]
                video["annotations"] = [one for one in listed if one["label"] != "swim" or kept < 1]
                kept += any(one["label"] == "swim" for one in listed)

    _database(folder, leave_out)


def _tiny_actions(folder: Path) -> None:
    def shorten(database: dict[str, Any]) -> None:
        for video in database.values():
            for one in video["annotations"]:
                one["segment"][1] = one["segment"][0] + 0.12

    _database(folder, shorten)
    write_run(folder, good(_annotations(folder), "test"))


FAULTS: dict[str, tuple[str, Callable[[Folder], None]]] = {
    "annotations moved by 3.3 s": ("shifted", _moved_annotations),
    "predictions 1.5 s late": ("shifted", _times(1.0, 1.5)),
    "times at 30 in place of 25 frames per second": ("scaled", _times(25 / 30, 0.0)),
    "half of the stride": ("scaled", _times(0.5, 0.0)),
    "frames in place of seconds": ("scaled", _times(25.0, 0.0)),
    "permuted labels": ("permuted_labels", _permuted),
    "predictions of another subset": ("wrong_subset", lambda f: write_run(f, good(_annotations(f), "train"))),
    "other names of videos": ("video_names", _other_names),
    "averaged weights of a short schedule": ("averaged_weights", _averaged),
    "averaged weights that are worse for another reason": ("averaged_weights", lambda f: _averaged(f, share=0.01)),
    "wrong stride in the settings": ("grid", _wrong_stride),
    "nan in features": ("not_finite", _feature("v05.npy", _not_finite)),
    "constant columns": ("constant_channels", _feature("*.npy", _constant)),
    "short features": ("short_features", _feature("v0[56].npy", lambda rows: rows[:-40])),
    "missing features": ("missing_features", lambda f: (f / "features/v07.npy").unlink()),
    "features of another width": ("dimension", _feature("v08.npy", lambda rows: rows[:, :4])),
    "a video that never changes": ("still_features", _feature("v08.npy", np.ones_like)),
    "a video of both subsets, by its features": ("near_duplicate", _copied_features),
    "a video of both subsets, by its file": ("same_video", _copied_file),
    "an action past the end": ("past_end", _segment(_beyond)),
    "an action without length": ("zero_length", _segment(_empty)),
    "an action twice": ("duplicates", _segment(_twice)),
    "overlapping actions of a class": ("overlaps", _segment(_overlapping)),
    "a class in the test subset only": ("class_only_in_test", _unlearned),
    "a class with one training action": ("few_actions", _few),
    "no test subset": ("empty_subset", _no_test),
    "actions shorter than a step": ("too_short_actions", _tiny_actions),
}
"""By what is done: the finding that must come first, and how it is done."""
FILES = {
    "variable.mp4": ("variable_rate", "warning"),
    "index_first_cut.mp4": ("cut_tail", "error"),
    "sound_cut.mkv": ("cut_tail", "error"),
    "only_sound.mp4": ("no_pictures", "error"),
    "turned.mp4": ("rotation", "note"),
    "index_last_cut.mp4": ("unreadable", "error"),
}
"""By the name of a clip: the finding that must come first, and its severity."""


def with_clip(folder: Path, clips: Clips) -> None:
    """A video file at hand."""
    shutil.copy(clips["plain.mp4"], folder / "clip.mp4")

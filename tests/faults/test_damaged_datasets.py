"""No mangled list or table of a published dataset is taken for a mistake of ours."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import ActlocError
from actloc.video import known_facts
from actloc.video.known_facts import KnownFacts
from tests.datasets.raw import RAW

ODD_VALUES = [None, True, -1, 0, 1e308, 2**70, "", "a\nb", "v\0", [], {}, [None]]
ODD_CELLS = ["", "nan", "-1", "1e400", "9" * 400, "x", "\x00", '"', "\ufeff", "../x", "1,5"]
DATASETS = [
    "thumos14",
    "activitynet13",
    "epic_kitchens100",
    "ego4d_mq",
    "multithumos",
    "charades",
    "hacs",
    "fineaction",
    "epic_sounds",
    "hapt",
]
Json = Any
"""Whatever JSON can hold."""


def places(value: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(value[key], (*at, key))


def mangled_json(content: Json, draw: random.Random) -> str:
    content = copy.deepcopy(content)
    *outer, key = draw.choice(list(places(content)))
    holder = content
    for step in outer:
        holder = holder[step]
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(ODD_VALUES)
    return json.dumps(content)


def mangled_text(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.randrange(max(1, len(lines) - 1))
    cells = re.split(r"([,\s;])", lines[number])
    cells[2 * draw.randrange((len(cells) + 1) // 2)] = draw.choice(ODD_CELLS)
    lines[number] = "".join(cells)
    return "\n".join(lines)


@pytest.mark.parametrize("name", DATASETS)
def test_mangled_lists_are_refused_or_read(name: str, tmp_path: Path) -> None:
    RAW[name](tmp_path)
    config = import_module(f"actloc.datasets.{name}").Config.small(tmp_path)
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    draw = random.Random(name)
    for _ in range(100):
        path = draw.choice(paths)
        whole = path.read_bytes()
        text = whole.decode()
        path.write_text(mangled_json(json.loads(text), draw) if path.suffix == ".json" else mangled_text(text, draw))
        with suppress(ActlocError):
            config.collect()
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "file", "mangle"),
    [
        ("ego4d_mq", "moments/moments_val.json", lambda text: re.sub(r'"label": "[^"]*"', '"label": 0', text, count=1)),
        (
            "ego4d_mq",
            "moments/moments_train.json",
            lambda text: re.sub(r'"video_uid": "[^"]*"', '"video_uid": 3', text),
        ),
        ("ego4d_mq", "moments/moments_val.json", lambda text: re.sub(r'"clip_uid": "[^"]*"', '"clip_uid": true', text)),
        ("epic_kitchens100", "epic/EPIC_100_video_info.csv", lambda text: re.sub(r",[\d.]+(?=\n|,)", ",x", text)),
        ("hapt", "hapt/activity_labels.txt", lambda text: text.replace("2 SITTING", "2")),
    ],
)
def test_what_was_taken_for_a_bug_names_its_file(
    name: str, file: str, mangle: Callable[[str], str], tmp_path: Path
) -> None:
    RAW[name](tmp_path)
    path = tmp_path / file
    whole = path.read_text()
    path.write_text(mangle(whole))
    assert path.read_text() != whole
    with pytest.raises(ActlocError, match=path.name if name != "hapt" else "activity_labels.txt"):
        import_module(f"actloc.datasets.{name}").Config.small(tmp_path).collect()


@pytest.mark.parametrize(
    "facts",
    ['"duration": 1e308, "fps": 30.0', '"duration": NaN, "fps": 30.0', '"duration": 4.0', '"duration": 4, "fps": 0'],
)
def test_odd_facts_of_a_video_are_read_again(facts: str, tmp_path: Path) -> None:
    video = AnnotatedVideo("v", "", duration_s=4.0, fps=30.0, file=tmp_path / "v.mp4")
    (tmp_path / "v.mp4").write_bytes(b"1")
    listing = known_facts.file_in(tmp_path)
    KnownFacts(tmp_path).add(video)
    assert KnownFacts(tmp_path).with_facts({"v": video}) == {"v": video}
    listing.write_text(re.sub(r'"duration".*(?=})', facts, listing.read_text()))
    assert KnownFacts(tmp_path).with_facts({"v": video}) == {}


def test_annotations_that_are_a_link_to_itself_are_no_bug(tmp_path: Path) -> None:
    RAW["custom"](tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.csv").symlink_to("labels.csv")
    with pytest.raises(OSError, match=r"labels\.csv"):
        import_module("actloc.datasets.custom").Config.small(tmp_path).collect()

"""Files that are damaged, or of another form than the settings name, are read in part or refused, never a crash."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations import own_files
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read

FILES = Path("tests/annotation_forms/files")
NAMES = sorted(path.name for path in FILES.iterdir() if path.is_file() and path.name != "expected.json")
JUNK = (None, True, 0, -1, 1e308, 10**40, "", "x", [], {}, [1], {"a": 1}, "NaN", [[]], 3.5, [None, None])
BYTES = (b"<", b">", b'"', b"{", b"]", b",", b":", b"\t", b"\n\n", b"\0", b"-->", b"NaN", b"1e999", b"\xff", b"9" * 30)


def changed(value: Any, dice: random.Random) -> Any:
    """Parsed JSON in which a few values are others or gone."""
    if dice.random() < 0.01:
        return dice.choice(JUNK)
    if isinstance(value, dict):
        return {key: changed(one, dice) for key, one in value.items() if dice.random() > 0.005}
    return [changed(one, dice) for one in value] if isinstance(value, list) else value


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes of which some are gone, doubled or others."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(content))
        gone = dice.randint(0, 40)
        more = dice.choice((content[at : at + gone], dice.choice(BYTES), b""))
        content = content[:at] + more + content[at + gone * dice.randint(0, 1) :]
    return content or b" "


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_in_part_or_refused(name: str, tmp_path: Path) -> None:
    dice, outcomes = random.Random(name), set[str]()
    content = (FILES / name).read_bytes()
    forms = sorted(form.name for form in own_files.every())
    for number in range(60):
        is_json = content[:1] in (b"{", b"[") and number % 2
        text = json.dumps(changed(json.loads(content), dice)).encode() if is_json else damaged(content, dice)
        (tmp_path / name).write_bytes(text)
        settings = {"annotations_form": dice.choice(forms)} if not number % 5 else {}
        try:
            read(tmp_path / name, annotations_fps=25.0, point_seconds=0.5, **settings)
            outcomes.add("read")
        except UserError as error:
            outcomes.add("refused" if error.found and error.expected and error.fix else "refused without a reason")
    assert "refused" in outcomes
    assert outcomes <= {"read", "refused"}


def test_a_forced_form_that_the_file_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(FILES / "clip_a.srt", annotations_form="via")
    assert caught.value.found.endswith("clip_a.srt is not a project or export of VIA 3.")
    assert caught.value.expected == "Expected one, as dataset.annotations_form is via."


def test_a_database_whose_annotations_are_no_list_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"database": {"v": {"annotations": 3}}}')
    assert [str(one) for one in read(tmp_path / "a.json").problems] == [
        f"{tmp_path / 'a.json'}: database['v']: annotations: expected a list"
    ]

"""Which file below a folder the path of a list means."""

from pathlib import Path

import pytest

from actloc.errors import UserError
from actloc.video.clip_files import ClipFiles, unique_ids


def folder_of(tmp_path: Path, *names: str) -> ClipFiles:
    for name in names:
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return ClipFiles(tmp_path / "clips")


def find(files: ClipFiles, *wanted: str) -> dict[str, str]:
    return {key: str(path.relative_to(files.folder)) for key, path in files.find(wanted).items()}


def test_videos_and_folders_of_frames_are_found_at_any_depth(tmp_path: Path) -> None:
    files = folder_of(
        tmp_path,
        *("a.mp4", "x/B.MKV", "x/y/z/c.webm", "x/notes.txt", ".hidden/d.mp4", "x/.e.mp4", "flow/f/flow_x_00001.jpg"),
        *("x/g.1/img_00001.png", "x/g.1/img_00002.png", "x/h/000001.jpg", "x/h/frames.json", "x/i/1.jpg"),
    )
    found = [str(path.relative_to(files.folder)) for path in files.found]
    assert found == ["a.mp4", "x/B.MKV", "x/g.1", "x/h", "x/y/z/c.webm"]


def test_folders_are_followed_through_links_but_not_in_circles(tmp_path: Path) -> None:
    folder_of(tmp_path, "x/a.mp4")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.mp4").touch()
    (tmp_path / "clips/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "clips/x/up").symlink_to(tmp_path / "clips")
    files = ClipFiles(tmp_path / "clips")
    assert [path.name for path in files.found] == ["b.mp4", "a.mp4"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("run/1", "train/run/1.mp4"),
        ("/home/someone/train/walk/1.avi", "train/walk/1.mp4"),
        ("C:\\clips\\walk\\1", "train/walk/1.mp4"),
        ("2", "deep/er/2.avi"),
        ("part_0/2.mp4", "deep/er/2.avi"),
        ("walk/2", None),
        ("3.webm", "3.webm"),
        ("./3.mp4", "3.mp4"),
        ("jump/1", None),
        ("", None),
        ("../secret", None),
    ],
)
def test_a_path_means_the_file_whose_end_it_shares(wanted: str, expected: str | None, tmp_path: Path) -> None:
    files = folder_of(tmp_path, "train/run/1.mp4", "train/walk/1.mp4", "deep/er/2.avi", "3.mp4", "3.webm", "jump/0.mp4")
    assert find(files, wanted).get(wanted) == expected


def test_a_path_without_a_file_does_not_take_that_of_another_path(tmp_path: Path) -> None:
    files = folder_of(tmp_path, "run/1.mp4")
    assert find(files, "run/1", "walk/1") == {"run/1": "run/1.mp4"}


def test_an_absolute_path_is_itself_where_it_exists(tmp_path: Path) -> None:
    files = folder_of(tmp_path, "a.mp4")
    other = tmp_path / "other" / "a.mp4"
    other.parent.mkdir()
    other.touch()
    assert files.find([str(other), "a"]) == {str(other): other, "a": files.folder / "a.mp4"}
    (tmp_path / "secret.txt").touch()
    assert files.find([str(tmp_path / "secret.txt")]) == {}


def test_two_files_that_a_path_could_mean_are_refused(tmp_path: Path) -> None:
    files = folder_of(tmp_path, "x/a.mp4", "y/a.mp4")
    with pytest.raises(UserError, match=r"x/a.mp4 and .*y/a.mp4 could both be the clip a\."):
        files.find(["a"])


def test_ids_are_names_and_only_repeated_ones_have_folders(tmp_path: Path) -> None:
    files = folder_of(tmp_path, "run/1.mp4", "walk/1.mp4", "walk/2.mp4")
    assert list(unique_ids(files.found, files.folder).values()) == ["run__1", "walk__1", "2"]
    same = folder_of(tmp_path, "walk/2.avi")
    with pytest.raises(UserError, match=r"walk/2.avi and .*walk/2.mp4 would both have the id 'walk__2'"):
        unique_ids(same.found, same.folder)

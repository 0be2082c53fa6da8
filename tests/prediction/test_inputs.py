"""Which videos the arguments of `predict` mean, and their ids."""

import os
from pathlib import Path

import pytest

from actloc.errors import UserError
from actloc.prediction.inputs import absolute, named_videos, with_ids


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Videos in a folder and in folders in it, and a list; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("my/a.mp4", "my/P01/v0.mp4", "my/P02/v0.MP4", "my/notes.csv", "b.mkv", "out/drawn.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def names_of(*names: str, takes_frames: bool = False) -> list[str]:
    return [str(path) for path in named_videos(names, Path("out"), takes_frames=takes_frames)]


def test_files_folders_and_lists_may_be_mixed_and_each_video_counts_once(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfmy/a.mp4\r\n\r\n  b.mkv\r\n")
    below = ["my/P01/v0.mp4", "my/P02/v0.MP4", "my/a.mp4"]
    assert names_of("my") == below
    assert names_of("list.txt") == ["my/a.mp4", "b.mkv"]
    assert names_of("b.mkv", "./my/../b.mkv", "my", "list.txt") == ["b.mkv", *below]
    assert names_of(".", "my") == ["b.mkv", *below]  # the output folder is left out


def test_paths_of_a_list_are_from_the_working_folder_or_from_its_own(folder: Path) -> None:
    (folder / "my/list.TXT").write_text("P01/v0.mp4\n../b.mkv\nmy/a.mp4\n")
    assert [Path(name).resolve() for name in names_of("my/list.TXT")] == [
        folder / "my/P01/v0.mp4",
        folder / "b.mkv",
        folder / "my/a.mp4",
    ]


def test_a_list_may_have_comments_and_names_that_begin_like_one(folder: Path) -> None:
    (folder / "#1.mp4").write_text("")
    (folder / "list.txt").write_text("# those of May: my/P01\n\n  #my/nothing.mp4\nmy/a.mp4\n#1.mp4\n")
    assert names_of("list.txt") == ["my/a.mp4", "#1.mp4"]


def test_every_wrong_line_of_a_list_is_named(folder: Path) -> None:
    (folder / "list.txt").write_text("my/a.mp4\nmy/b.mp4\nhttps://example.org/a.mp4\n")
    with pytest.raises(UserError) as refused:
        names_of("list.txt")
    lines = refused.value.found.splitlines()
    assert lines[0] == "2 lines of list.txt cannot be used:"
    assert lines[1].strip() == "line 2: my/b.mp4 is not a file. Did you mean a.mp4?"
    assert lines[2].strip() == "line 3: https://example.org/a.mp4 is a URL."
    (folder / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="names no videos"):
        names_of("list.txt")


def test_a_pipe_is_refused_and_never_opened(folder: Path) -> None:
    os.mkfifo("pipe.mp4")
    with pytest.raises(UserError, match="is a pipe or a device"):
        names_of("pipe.mp4")
    os.mkfifo("pipe.txt")
    with pytest.raises(UserError, match="is a pipe or a device"):
        names_of("pipe.txt")


def test_a_folder_of_frames_is_one_video_where_the_task_takes_it(folder: Path) -> None:
    frames = folder / "my/clip"
    frames.mkdir()
    (frames / "img_00001.jpg").write_text("")
    assert "my/clip" in names_of("my", takes_frames=True)
    assert names_of("my/clip", takes_frames=True) == ["my/clip"]
    with pytest.raises(UserError, match="is a folder"):
        names_of("my/clip")


def test_equal_names_get_the_folders_that_tell_them_apart(folder: Path) -> None:
    videos = [Path("my/P01/v0.mp4"), Path("my/P02/v0.MP4"), Path("b.mkv")]
    assert with_ids(videos, {}) == dict(zip(["P01__v0", "P02__v0", "b"], videos, strict=True))
    assert list(with_ids(videos[:1], {})) == ["v0"]
    (folder / "b.mp4").write_text("")
    assert list(with_ids([Path("b.mkv"), Path("b.mp4")], {})) == ["b.mkv", "b.mp4"]


def test_videos_that_have_results_keep_their_ids(folder: Path) -> None:
    one, other = Path("my/P01/v0.mp4"), Path("my/P02/v0.MP4")
    alone = {absolute(one): "v0"}
    assert with_ids([one, other], alone) == {"v0": one, "P02__v0": other}
    assert with_ids([other], alone) == {"P02__v0": other}
    both = {absolute(one): "P01__v0", absolute(other): "P02__v0"}
    assert with_ids([one], both) == {"P01__v0": one}
    assert with_ids([other], {absolute(Path("gone/v0.mp4")): "v0"}) == {"v0": other}


def test_two_videos_never_share_an_id(folder: Path) -> None:
    (folder / "my/P01__v0.mp4").write_text("")
    with pytest.raises(UserError, match="would both have the id 'P01__v0'"):
        with_ids([Path("my/P01__v0.mp4"), Path("my/P01/v0.mp4"), Path("my/P02/v0.MP4")], {})

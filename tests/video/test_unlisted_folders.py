"""Folders of frames without frames.json: read only where a reader is asked to, with the files that are there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.base import FRAMES_FILE, UNLISTED_FPS
from actloc.video.clip_reader import ClipReader
from actloc.video.png_frames import extract_png_frames
from actloc.video.reader import probe, read_frames
from tests.videos import FRAMES, HEIGHT, WIDTH, Clips, ffmpeg

pytestmark = pytest.mark.usefixtures("forked_decoders")
TEMPLATES = ["img_{:05d}.png", "{:05d}.png", "{:06d}.png", "img_{:05d}.jpg", "{:05d}.jpg", "{:06d}.jpg"]


@pytest.fixture(scope="module")
def stored(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "frames"
    extract_png_frames(clips["plain.mp4"], folder)
    return folder


@pytest.fixture(scope="module")
def reader() -> Iterator[ClipReader]:
    with ClipReader(1, fps="native", unlisted_folders=True) as shared:
        yield shared


def foreign(stored: Path, folder: Path, template: str) -> Path:
    """The frames under other names, without frames.json."""
    folder.mkdir()
    for number in range(1, FRAMES + 1):
        target = folder / template.format(number)
        if target.suffix == ".png":
            shutil.copy(stored / f"{number:06d}.png", target)
    if template.endswith(".jpg"):
        ffmpeg("-i", stored / "%06d.png", "-q:v", "2", folder / template.replace("{:0", "%0").replace("d}", "d"))
    return folder


@pytest.mark.parametrize("template", TEMPLATES)
def test_frames_are_counted_from_1_in_files_of_any_usual_name(
    clips: Clips, stored: Path, tmp_path: Path, reader: ClipReader, template: str
) -> None:
    folder = foreign(stored, tmp_path / "frames", template)
    times = reader.times(folder)
    assert (times.num_frames, times.fps, times.duration_s) == (FRAMES, UNLISTED_FPS, FRAMES / UNLISTED_FPS)
    facts = probe(folder, unlisted_folders=True)
    assert (facts.duration_s, facts.fps, facts.width, facts.height) == (FRAMES / UNLISTED_FPS, 25, WIDTH, HEIGHT)
    numbers = [59, 0, 31, 31, 90, -1]
    expected: NDArray[np.uint8] = reader.read_frames(clips["plain.mp4"], numbers)
    found = reader.read_frames(folder, numbers)
    if template.endswith(".png"):
        assert np.array_equal(found, expected)
    else:
        assert np.abs(found.astype(int) - expected).mean() < 6


def test_only_a_reader_that_is_asked_to_opens_such_a_folder(stored: Path, tmp_path: Path) -> None:
    folder = foreign(stored, tmp_path / "frames", "img_{:05d}.png")
    with ClipReader(1, fps="native") as strict:
        for read in (lambda: strict.times(folder), lambda: strict.read_frames(folder, [0])):
            with pytest.raises(VideoError, match=r"not_a_file: .* is not a file"):
                read()
    for start in (lambda: probe(folder), lambda: read_frames(folder, fps="native")):
        with pytest.raises(VideoError, match="not_a_file"):
            start()
    for fps, decode_fps in ((25, None), ("native", 25)):
        with pytest.raises(ValueError, match="expected native for folders without a rate"):
            ClipReader(1, fps=fps, decode_fps=decode_fps, unlisted_folders=True)


def test_videos_and_listed_folders_are_read_as_ever(clips: Clips, stored: Path, reader: ClipReader) -> None:
    assert reader.times(stored).fps == reader.times(clips["plain.mp4"]).fps == 30
    (stored / FRAMES_FILE).rename(stored / "kept")
    try:
        assert probe(stored, unlisted_folders=True).fps == 25
        (stored / FRAMES_FILE).write_text("{")
        with pytest.raises(VideoError, match=r"unreadable: frames\.json was not written by actloc"):
            probe(stored, unlisted_folders=True)
    finally:
        (stored / "kept").rename(stored / FRAMES_FILE)


def test_missing_frames_are_an_error_beyond_one(stored: Path, tmp_path: Path, reader: ClipReader) -> None:
    folder = foreign(stored, tmp_path / "frames", "img_{:05d}.png")
    (folder / "img_00020.png").unlink()
    seen = reader.read_frames(folder, [18, 19, 20])
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])
    other = foreign(stored, tmp_path / "other", "img_{:05d}.png")
    for number in (20, 21):
        (other / f"img_{number:05d}.png").unlink()
    with pytest.raises(VideoError, match="damaged: frames missing: 2"):
        reader.read_frames(other, [0])
    for number in (59, 60):  # at the end: the folder is as long as its files say
        (folder / f"img_{number:05d}.png").unlink()
    with ClipReader(1, fps="native", unlisted_folders=True) as fresh:
        assert fresh.times(folder).num_frames == FRAMES - 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "empty: frames contains no frames"),
        (["flow_x_00001.jpg", "1.png", "img_00001.gif"], "empty: frames contains no frames"),
        (["00000.png", "00001.png"], "unsupported: the frames are numbered from 0"),
    ],
)
def test_folders_without_frames_from_1_are_refused(
    stored: Path, tmp_path: Path, reader: ClipReader, names: list[str], message: str
) -> None:
    (tmp_path / "frames").mkdir()
    for name in names:
        shutil.copy(stored / "000001.png", tmp_path / "frames" / name)
    for read in (reader.times, lambda path: probe(path, unlisted_folders=True)):
        with pytest.raises(VideoError, match=message):
            read(tmp_path / "frames")

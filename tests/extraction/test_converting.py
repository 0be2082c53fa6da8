"""Videos converted before they are read: the rate, the number of frames and the size that the settings ask for."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import VideoError
from actloc.extraction.converting import as_prepared, convert, convert_videos
from actloc.settings.sections import PreparationSettings
from actloc.video.clip_reader import ClipReader
from actloc.video.reader import probe, read_frames
from tests.videos import FPS, FRAMES, HEIGHT, SECONDS, WIDTH, Clips


def settings(**values: Any) -> PreparationSettings:
    return PreparationSettings(**{"videos": "reencode", "fps": "native", "size": (32, 64), **values})


@pytest.mark.parametrize(
    ("values", "fps", "frames", "folder"),
    [
        ({}, FPS, FRAMES, "reencoded_nativefps_32x64px_every30"),
        ({"most_frames": 24}, 12, 24, "reencoded_nativefps_most24_32x64px_every30"),
        ({"most_frames": 31}, 15.5, 31, "reencoded_nativefps_most31_32x64px_every30"),
        ({"most_frames": FRAMES}, FPS, FRAMES, "reencoded_nativefps_most60_32x64px_every30"),
        ({"most_frames": 24, "fps": 10}, 10, 20, "reencoded_10fps_most24_32x64px_every30"),
        ({"most_frames": 24, "videos": "frames"}, 12, 24, "frames_nativefps_most24_32x64px_q2"),
    ],
)
def test_a_long_video_gets_a_lower_rate_and_a_short_one_keeps_its_own(
    clips: Clips, tmp_path: Path, values: dict[str, Any], fps: float, frames: int, folder: str
) -> None:
    made = convert(clips["plain.mp4"], "v", tmp_path, settings(**values))
    assert made.parent == tmp_path / folder
    facts = probe(made)
    assert (facts.width, facts.height) == (64, 32)
    assert facts.fps == pytest.approx(fps)
    assert facts.duration_s == pytest.approx(SECONDS, abs=1e-3)
    assert len(list(read_frames(made, fps="native"))) == frames
    with ClipReader(1, fps="native") as reader:
        times = reader.times(made)
    assert (times.num_frames, times.duration_s) == (frames, pytest.approx(SECONDS, abs=1e-3))


def test_png_frames_have_the_size_and_rate_of_the_video(clips: Clips, tmp_path: Path) -> None:
    made = convert(clips["variable.mkv"], "v", tmp_path, PreparationSettings(videos="png"))
    assert made.parent == tmp_path / "frames_png"
    with ClipReader(1, fps="native") as reader:
        expected, found = reader.times(clips["variable.mkv"]), reader.times(made)
        assert (found.num_frames, found.fps) == (expected.num_frames, expected.fps)
        assert (found.height, found.width) == (HEIGHT, WIDTH)
    before = (made / "000001.png").stat().st_mtime_ns
    assert convert(clips["variable.mkv"], "v", tmp_path, PreparationSettings(videos="png")) == made
    assert (made / "000001.png").stat().st_mtime_ns == before


def test_a_size_is_exact_and_pictures_are_stretched_to_it(clips: Clips, tmp_path: Path) -> None:
    made = convert(clips["plain.mp4"], "v", tmp_path, settings(size=(64, 64)))
    shown = list(read_frames(made, fps="native"))
    assert shown[0].shape == (64, 64, 3)
    original = next(iter(read_frames(clips["plain.mp4"], fps="native")))
    assert original.shape == (HEIGHT, WIDTH, 3)
    for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:  # nothing was cut off
        assert abs(shown[0][corner].astype(int) - original[corner]).max() < 60


@pytest.mark.parametrize("name", ["variable.mp4", "sound.mkv", "odd.mp4", "edit_list.mp4", "late_start.avi"])
@pytest.mark.parametrize("most", [7, 23, 46])
def test_no_file_gets_more_frames_than_allowed(clips: Clips, tmp_path: Path, name: str, most: int) -> None:
    made = convert(clips[name], "v", tmp_path, settings(most_frames=most))
    expected = min(most, round(probe(clips[name]).duration_s * probe(clips[name]).fps))
    assert most >= len(list(read_frames(made, fps="native"))) >= expected - 1


def test_a_second_run_makes_only_what_is_missing(clips: Clips, tmp_path: Path) -> None:
    videos = {name: AnnotatedVideo(name, "", duration_s=2.0, file=clips[f"{name}.mp4"]) for name in ("plain", "sound")}
    annotations = Annotations((), videos)
    first = convert_videos(annotations, tmp_path, settings(most_frames=10)).videos
    files = [video.file for video in first.values() if video.file]
    before = files[1].stat().st_mtime_ns
    files[0].unlink()
    again = convert_videos(annotations, tmp_path, settings(most_frames=10)).videos
    assert again == first
    assert files[0].is_file()
    assert files[1].stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.part"))


def test_a_video_cut_short_is_refused_and_nothing_is_left(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="fewer frames than the video has"):
        convert(clips["index_first_cut.mp4"], "v", tmp_path, settings(most_frames=50))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"videos": "keep", "most_frames": 768, "size": None}, "most_frames: has no effect because preparation.videos"),
        ({"videos": "keep"}, "size: has no effect because preparation.videos is keep"),
        ({"videos": "png"}, "fps: has no effect because preparation.videos is png; set reencode or frames"),
        ({"short_side": 128}, "short_side: found 128, which has no effect because size is set"),
        ({"size": (255, 256)}, r"size: found \[255, 256\], expected even numbers"),
    ],
)
def test_settings_without_effect_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**values)


def test_a_folder_of_frames_stays_where_png_is_asked_for_and_is_not_resized(
    clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = convert(clips["plain.mp4"], "v", tmp_path, PreparationSettings(videos="png"))
    found = Annotations(("run",), {"v": AnnotatedVideo("v", "train", duration_s=float(SECONDS), file=frames)})
    assert convert_videos(found, tmp_path / "png", PreparationSettings(videos="png")) == found
    assert capsys.readouterr().err == ""
    assert convert_videos(found, tmp_path / "small", settings()) == found
    told = " ".join(capsys.readouterr().err.split())
    assert (
        f"Cannot convert {frames}: unsupported: a folder of frames is not converted; keeping the original file" in told
    )
    assert not (tmp_path / "small").exists()
    with as_prepared(frames, settings(), takes_frames=True) as file:
        assert file == frames
    with pytest.raises(VideoError, match="a folder of frames is not converted"), as_prepared(frames, settings()):
        pass

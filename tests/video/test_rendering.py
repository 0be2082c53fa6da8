"""Copies with labels and clips agree with their videos frame by frame, whatever the file is like."""

import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from actloc.annotations.rows import Segment
from actloc.errors import EnvironmentProblem, VideoError
from actloc.reports import ass
from actloc.video import rendering

GREY = ["-f", "lavfi", "-i", "color=gray:s=160x120:r=30:d=4"]
NUMBERED = "format=gray,geq=lum='20+5*mod(N,40)'"
SOUND = ["-f", "lavfi", "-i", "sine=d=4"]
X264 = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"]
KINDS = {
    "plain.mp4": [*GREY, *X264],
    "59.94.mp4": ["-f", "lavfi", "-i", "color=gray:s=160x120:r=60000/1001:d=4", *X264],
    "240.mp4": ["-f", "lavfi", "-i", "color=gray:s=160x120:r=240:d=4", *X264],
    "variable.mkv": [*GREY, "-vf", "select='gt(mod(n*n,7),1)'", "-fps_mode", "vfr", *X264],
    "with sound.mp4": [*GREY, *SOUND, *X264, "-c:a", "aac"],
    "late pictures.mp4": ["-itsoffset", "0.5", *GREY, *SOUND, *X264, "-c:a", "aac"],
    "late sound.mkv": [*GREY, "-itsoffset", "1.5", *SOUND, *X264, "-c:a", "libopus"],
    "starts at 5 s.ts": [*GREY, *SOUND, *X264, "-c:a", "mp2", "-output_ts_offset", "5"],
    "old.avi": ["-f", "lavfi", "-i", "color=gray:s=160x120:r=25:d=4", *SOUND, "-c:v", "mpeg4", "-c:a", "pcm_s16le"],
    "it's a, [b]: 100%;'x'.mp4": [*GREY, *X264],
    "-y.mp4": [*GREY, *X264],
    "sound starts first.mpg": ["-f", "lavfi", "-i", "color=gray:s=160x120:r=25:d=4", *SOUND, "-c:v", "mpeg2video"],
    "odd.mkv": ["-f", "lavfi", "-i", "color=gray:s=161x121:r=30:d=4", "-c:v", "ffv1"],
    "wide pixels.mp4": [*GREY, "-vf", "setsar=3/2", *X264],
    "small.mp4": ["-f", "lavfi", "-i", "color=gray:s=64x36:r=30:d=4", *X264],
}


def ffmpeg(*arguments: str) -> None:
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def made(folder: Path, name: str) -> Path:
    path = folder / name
    ffmpeg(*KINDS[name], f"file:{path}")
    return path


def frames(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time from the first frame, and the picture in grey, of each frame."""
    with av.open(str(path)) as container:
        found = [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    return [(round(time - found[0][0], 6), picture) for time, picture in found]


def burnt(source: Path, segments: list[Segment], duration_s: float = 4.0) -> Path:
    shown = rendering.look_at(source)
    look = ass.Look(shown.width, shown.height, duration_s, {"red": 3}, rendering.SLOWED)
    target = source.with_name("burnt.mp4")
    rendering.burn_in(source, target, shown, ass.overlay(segments, look), ass.FONT)
    return target


def has_label(picture: np.ndarray) -> bool:
    return bool(np.ptp(picture[: len(picture) // 3, :-4].astype(int)) > 60)


@pytest.mark.parametrize("name", KINDS)
def test_labels_are_on_exactly_the_frames_of_their_segments(name: str, tmp_path: Path) -> None:
    source = made(tmp_path, name)
    before = frames(source)
    start_s, end_s = before[len(before) // 3][0], 2.7123
    after = frames(burnt(source, [Segment(start_s, end_s, "red", 0.9)]))
    times = [time for time, _ in before]
    # MPEG-PS does not stamp each picture; ffmpeg's program guesses some otherwise than its library, by a frame at most
    atol = 0.0401 if source.suffix == ".mpg" else 2e-5
    np.testing.assert_allclose([time for time, _ in after], times, rtol=0, atol=atol)
    shown = [time for time, (_, picture) in zip(times, after, strict=True) if has_label(picture)]
    assert shown == [time for time in times if start_s <= time < end_s]
    assert not any(has_label(picture) for _, picture in before)


def test_the_mark_moves_along_the_timeline(tmp_path: Path) -> None:
    after = frames(burnt(made(tmp_path, "plain.mp4"), []))
    width = after[0][1].shape[1]
    for time, picture in after[:: len(after) // 8]:
        bar = picture[len(picture) - 7].astype(int)  # the middle of the timeline
        place = np.argmax(bar[4:-4]) + 4.5
        assert abs(place - (3 + (width - 6) * time / 4)) < 2


def test_the_timeline_has_the_segments_in_their_colours(tmp_path: Path) -> None:
    target = burnt(made(tmp_path, "plain.mp4"), [Segment(2.0, 3.0, "red", 0.9)])
    with av.open(str(target)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    bar = picture[len(picture) - 7]
    is_red = (bar[:, 0] - bar[:, 2]) > 80
    inside = np.flatnonzero(is_red) / len(is_red)
    assert abs(inside.min() - 0.5) < 0.02
    assert abs(inside.max() - 0.75) < 0.02


def test_sound_is_copied_where_mp4_has_it_and_encoded_where_not(tmp_path: Path) -> None:
    for name, codec in (("with sound.mp4", "aac"), ("late sound.mkv", "opus"), ("old.avi", "aac"), ("plain.mp4", None)):
        with av.open(str(burnt(made(tmp_path, name), []))) as container:
            assert [stream.codec_context.name for stream in container.streams.audio] == [codec] * (codec is not None)


def test_pictures_and_sound_keep_their_distance(tmp_path: Path) -> None:
    for name, late_s in (("late pictures.mp4", -0.5), ("late sound.mkv", 1.5), ("with sound.mp4", 0.0)):
        target = burnt(made(tmp_path, name), [])
        starts = []
        for kind in ("video", "audio"):
            with av.open(str(target)) as container:
                packet = next(container.demux(**{kind: 0}))
                assert packet.pts is not None
                starts.append(packet.pts * packet.time_base)
        assert abs(float(starts[1] - starts[0]) - late_s) < 0.05


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    made(tmp_path, "plain.mp4")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(tmp_path / "plain.mp4"), "-c", "copy", str(turned))
    shown = rendering.look_at(turned)
    assert (shown.width, shown.height) == (120, 160)
    after = frames(burnt(turned, [Segment(1.0, 2.0, "red", 0.9)]))
    assert after[0][1].shape == (160, 120)
    assert [time for time, picture in after if has_label(picture)] == [time for time, _ in after if 1 <= time < 2]


def test_sizes_are_those_of_square_pixels_and_even(tmp_path: Path) -> None:
    for name, size in (("wide pixels.mp4", (240, 120)), ("odd.mkv", (162, 122)), ("small.mp4", (64, 36))):
        shown = rendering.look_at(made(tmp_path, name))
        assert (shown.width, shown.height) == size


NUMBERS = {
    "a.mp4": ["r=30:d=4", *X264],
    "long.mp4": ["r=10:d=25", *X264, "-g", "60", "-bf", "2"],
    "long.mkv": ["r=10:d=25", *X264, "-g", "250", "-bf", "2"],
    "long.avi": ["r=10:d=25", "-c:v", "ffv1"],
    "long.ts": ["r=10:d=25", *X264, "-output_ts_offset", "3"],
    "sound.mpg": ["r=25:d=4", *SOUND, "-pix_fmt", "yuv420p", "-c:v", "mpeg2video", "-q:v", "2"],
    "late.mp4": ["r=30:d=4", *SOUND, *X264, "-c:a", "aac"],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_clip_has_exactly_the_frames_of_its_segment(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / name, tmp_path / "clip.mp4"
    rate, *rest = NUMBERS[name]
    late = ["-itsoffset", "0.7"] if name == "late.mp4" else []
    ffmpeg(*late, "-f", "lavfi", "-i", f"color=black:s=32x32:{rate},{NUMBERED}", *rest, str(source))
    before = frames(source)
    shown = rendering.look_at(source)
    last_s = before[-1][0]
    cases = [(0.0, 0.35), (before[9][0], before[20][0]), (1.234, 2.9), (last_s - 1.01, last_s + 0.5)]
    if last_s > 20:
        cases += [(17.05, 18.5), (20.0, 20.4)]
    for start_s, end_s in cases:
        rendering.cut_out(source, target, shown, start_s, end_s)
        after = frames(target)
        expected = [(time, picture) for time, picture in before if start_s <= time < end_s]
        assert len(after) == len(expected), (start_s, end_s)
        for (time, picture), (true_time, true_picture) in zip(after, expected, strict=True):
            assert abs(float(picture.mean()) - float(true_picture.mean())) < 2.5
            assert abs(time - (true_time - expected[0][0])) < 2e-5
    for start_s, end_s in ((1.01, 1.02), (last_s + 0.01, last_s + 0.02), (1.0, 1.0)):
        rendering.cut_out(source, target, shown, start_s, end_s)
        ((_, picture),) = frames(target)
        true_picture = [true for time, true in before if time <= start_s + 1e-6][-1]
        assert abs(float(picture.mean()) - float(true_picture.mean())) < 2.5


def test_a_clip_has_its_part_of_the_sound(tmp_path: Path) -> None:
    source, target = made(tmp_path, "with sound.mp4"), tmp_path / "clip.mp4"
    rendering.cut_out(source, target, rendering.look_at(source), 1.0, 2.5)
    with av.open(str(target)) as container:
        samples = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert abs(samples - 1.5) < 0.06


def test_what_is_no_video_is_its_own_failure_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "x.mp4"
    source.write_bytes(b"no video at all" * 100)
    with pytest.raises(VideoError, match="unreadable"):
        rendering.look_at(source)
    shown = rendering.Shown(64, 48, 0, "", is_indexed=True)
    with pytest.raises(VideoError):
        rendering.burn_in(source, tmp_path / "out.mp4", shown, "", ass.FONT)
    with pytest.raises(VideoError):
        rendering.cut_out(source, tmp_path / "out.mp4", shown, 0.0, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_an_ffmpeg_without_libass_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering.check_ffmpeg(with_labels=True)
    bare = tmp_path / "ffmpeg"
    bare.write_text('#!/bin/sh\ncase "$*" in *encoders*) echo " V....D libx264  H.264";; esac\n')
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    rendering.check_ffmpeg(with_labels=False)
    with pytest.raises(EnvironmentProblem, match=r"the filter ass \(libass\)[\s\S]*pip install imageio-ffmpeg"):
        rendering.check_ffmpeg(with_labels=True)


def test_a_video_that_was_cut_without_encoding_keeps_its_times(tmp_path: Path) -> None:
    made(tmp_path, "with sound.mp4")
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.77", "-i", str(tmp_path / "with sound.mp4"), "-c", "copy", str(cut))
    before = frames(cut)
    after = frames(burnt(cut, [Segment(1.0, 2.0, "red", 0.9)], 3.2))
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=2e-5)
    assert [time for time, picture in after if has_label(picture)] == [time for time, _ in after if 1 <= time < 2]


def test_sound_that_cannot_be_used_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = made(tmp_path, "with sound.mp4"), tmp_path / "out.mp4"
    ffmpeg("-i", str(source), "-c:v", "copy", "-c:a", "wmav2", str(tmp_path / "raw.mkv"))
    shown = replace(rendering.look_at(tmp_path / "raw.mkv"), sound="aac")  # copied, and MP4 does not hold it
    text = ass.overlay([], ass.Look(shown.width, shown.height, 4.0, {}, rendering.SLOWED))
    rendering.burn_in(tmp_path / "raw.mkv", target, shown, text, ass.FONT)
    assert "the copy has no sound, which ffmpeg cannot use" in " ".join(capsys.readouterr().err.split())
    assert len(frames(target)) == 120

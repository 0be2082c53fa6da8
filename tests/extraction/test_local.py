import itertools
import os
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.base import ResizedFrames
from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.color import Config as ColorConfig
from actloc.encoders.efficientnet_lite0 import Config as NetworkConfig
from actloc.errors import Stopped, UserError, VideoError
from actloc.extraction import local
from actloc.extraction.batches import BatchedNetwork
from actloc.extraction.local import encode_videos, num_decoders, recipe
from actloc.extraction.ray_workers import Vectors
from actloc.settings.sections import MachineSettings
from actloc.signals import StopFlag
from actloc.store.info import FeatureInfo, Features, grid
from actloc.store.store import FeatureStore
from actloc.video.reader import FrameReader, read_frames
from actloc.video.windows import ClipSpacing
from tests.clips import spacing
from tests.extraction.in_memory import RowsInMemory, encode_video
from tests.videos import Clips, ffmpeg, resized

COLOR = ColorConfig(short_side=16).build()


class WholeClips(ClipEncoder):
    """An encoder that sees clips only as wholes: the first and the last frame's mean red."""

    channels = 2
    clip_multiple = 2

    def encode(self, clips: Tensor) -> Tensor:
        return clips[:, [0, -1], :, :, 0].double().mean((2, 3)).float()[:, :, None]


class FramePairs(WholeClips):
    """The same of frames that a network has made something of: here each frame's difference to the next."""

    def frames(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        return (second.astype(np.float32) - first for first, second in itertools.pairwise(frames))


class WholeClipsConfig(ResizedFrames):
    short_side: int = 16

    def build(self) -> WholeClips:
        return WholeClips(self)

    @classmethod
    def small(cls) -> "WholeClipsConfig":
        return cls(name="whole")


WHOLE = WholeClipsConfig(name="whole").build()


Outcome = tuple[Features, FeatureInfo] | VideoError


def encoded(
    videos: Mapping[str, Path], encoder: ClipEncoder, cut: ClipSpacing, machine: MachineSettings
) -> dict[str, Outcome]:
    """What becomes of each video."""
    sinks = {video_id: RowsInMemory() for video_id in videos}
    outcomes = dict(encode_videos(videos, encoder, cut, machine, sinks.__getitem__))
    return {
        video_id: outcome if isinstance(outcome, VideoError) else (sinks[video_id].features, outcome)
        for video_id, outcome in outcomes.items()
    }


def difference(first: Features, second: Features) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(first - second).max() / np.abs(first).max())


@pytest.mark.parametrize("align", ["valid", "backpad", "centred"])
@pytest.mark.parametrize("encoder", [COLOR, WHOLE], ids=["framewise", "clipwise"])
def test_rows_are_the_encoders_answers_to_the_clips(clips: Clips, encoder: ClipEncoder, align: str) -> None:
    array, info = encode_video(
        clips["plain.mp4"], encoder, spacing(align=align, stride_frames=7), MachineSettings(clip_batch=2)
    )
    frames = list(read_frames(clips["plain.mp4"], fps=15, steps=resized(16)))
    starts = {"valid": [0, 7, 14, 21], "backpad": [0, 7, 14, 21, 26], "centred": [-2, 5, 12, 19, 26]}[align]
    whole = np.stack([[frames[min(max(k, 0), 29)] for k in range(start, start + 4)] for start in starts])
    expected = encoder.encode(torch.from_numpy(whole))[:, :, 0].numpy()
    np.testing.assert_allclose(array, expected, rtol=1e-6)
    assert (info.steps, info.channels) == array.shape
    assert (info.frame_count, info.duration_s, info.reader) == (30, 2.0, "pyav")
    assert info.offset_frames == (0.0 if align == "centred" else 2.0)
    assert info.source_bytes == clips["plain.mp4"].stat().st_size


class Halves(WholeClips):
    """The colour of each half of a clip, as vectors of their own."""

    def vectors_per_clip(self, num_frames: int) -> int:
        return 2

    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([WholeClips.encode(self, half) for half in clips.chunk(2, dim=1)], dim=2)


def test_several_vectors_of_a_clip_are_rows_for_its_parts(clips: Clips, tmp_path: Path) -> None:
    encoder, machine = Halves(WholeClipsConfig(name="whole")), MachineSettings(clip_batch=3)
    back_to_back = spacing(clip_frames=8, stride_frames=8)
    array, info = encode_video(clips["plain.mp4"], encoder, back_to_back, machine)
    halves, of_halves = encode_video(clips["plain.mp4"], WHOLE, spacing(clip_frames=4, stride_frames=4), machine)
    np.testing.assert_allclose(array, halves[:6], rtol=1e-6)  # 30 frames: 3 clips of 8, or 7 of 4
    assert (info.steps, info.vectors_per_clip, grid(info)) == (6, 2, grid(of_halves))
    store = FeatureStore(tmp_path)
    store.begin({})
    store.write("v", array, replace(info, recipe="{}", video_id="v"))
    assert store.info("v").vectors_per_clip == 2
    assert store.verify() == []
    with pytest.raises(UserError, match=r"Set features\.stride_frames=8"):
        encode_video(clips["plain.mp4"], encoder, spacing(clip_frames=8, stride_frames=4), machine)


def test_clips_are_cut_from_what_the_encoder_makes_of_frames(clips: Clips) -> None:
    encoder = FramePairs(WholeClipsConfig(name="whole"))
    array, info = encode_video(clips["plain.mp4"], encoder, spacing(stride_frames=1), MachineSettings())
    frames = np.stack(list(read_frames(clips["plain.mp4"], fps=15, steps=resized(16)))).astype(np.float32)
    red = np.diff(frames[..., 0], axis=0).mean((1, 2))
    assert info.frame_count == len(red) == 29
    np.testing.assert_allclose(array, np.stack([red[:-3], red[3:]], axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", [COLOR, WHOLE], ids=["framewise", "clipwise"])
@pytest.mark.parametrize(("decode_fps", "shown_fps", "stride"), [(25.0, 25, 1), (12.5, 12.5, 4), ("native", 30, 2)])
def test_where_the_step_is_not_whole_each_clip_picks_its_frames_anew(
    clips: Clips, encoder: ClipEncoder, decode_fps: float | str, shown_fps: float, stride: int
) -> None:
    features = spacing(fps=11.0, decode_fps=decode_fps, clip_frames=8, stride_frames=stride)
    array, info = encode_video(clips["plain.mp4"], encoder, features, MachineSettings(clip_batch=2))
    frames = np.stack(list(read_frames(clips["plain.mp4"], fps=shown_fps, steps=resized(16))))
    places = np.floor(np.arange(int(len(frames) * (11 / shown_fps)), dtype=np.float32) * np.float32(shown_fps / 11))
    starts = places[: len(places) - 7 : stride].astype(int)
    whole = np.stack([frames[start + places[:8].astype(int)] for start in starts])
    expected = encoder.encode(torch.from_numpy(whole))[:, :, 0].numpy()
    np.testing.assert_allclose(array, expected, rtol=1e-6)
    assert (info.fps, info.frame_count, info.steps) == (11.0, len(places), len(starts))


def test_optical_flow_takes_frames_that_follow_each_other(clips: Clips) -> None:
    encoder = FramePairs(WholeClipsConfig(name="whole"))
    encoder.makes_frames = True
    for decode_fps in (25.0, "native"):
        with pytest.raises(UserError, match=r"(?s)computes optical flow.*Set features\.decode_fps=null"):
            encode_video(clips["plain.mp4"], encoder, spacing(decode_fps=decode_fps), MachineSettings())
    encode_video(clips["plain.mp4"], encoder, spacing(decode_fps=30.0), MachineSettings())


@pytest.mark.parametrize("encoder", [COLOR, NetworkConfig.small().build()], ids=["color", "network"])
def test_the_batch_changes_no_more_than_rounding(clips: Clips, encoder: ClipEncoder) -> None:
    one, eight = (
        encode_video(clips["plain.mp4"], encoder, spacing(fps=8.0), MachineSettings(clip_batch=size))[0]
        for size in (1, 8)
    )
    assert difference(one, eight) <= 1e-5


def test_decoders_and_order_change_nothing(clips: Clips) -> None:
    names = ("plain.mp4", "variable.mp4", "edit_list.mp4", "turned.mp4")
    found = []
    for decoders, listed in ((1, names), (3, names[::-1])):
        machine = MachineSettings(decoders=decoders, clip_batch=2)
        videos = {name: clips[name] for name in listed}
        found.append(encoded(videos, COLOR, spacing(), machine))
    for name in names:
        (first, first_info), (second, second_info) = (results[name] for results in found)  # type: ignore[misc]
        assert np.array_equal(first, second)
        assert first_info == second_info


def test_putting_batches_together_ahead_changes_nothing(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    class WorksAhead(BatchedNetwork):
        """As on a GPU."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.most_ahead = 1

    names = ("plain.mp4", "hole.mp4", "turned.mp4", "variable.mp4")
    videos = {name: clips[name] for name in names}
    machine = MachineSettings(decoders=2, clip_batch=4)
    found = [encoded(videos, WHOLE, spacing(), machine)]
    monkeypatch.setattr(local, "BatchedNetwork", WorksAhead)
    found.append(encoded(videos, WHOLE, spacing(), machine))
    for name in ("plain.mp4", "turned.mp4", "variable.mp4"):
        (first, first_info), (second, second_info) = (outcomes[name] for outcomes in found)  # type: ignore[misc]
        assert np.array_equal(first, second)
        assert first_info == second_info
    assert all(getattr(outcomes["hole.mp4"], "reason", "") == "damaged" for outcomes in found)


def test_rows_that_cannot_be_kept_cost_their_own_video_only(clips: Clips) -> None:
    class Choosy(RowsInMemory):
        taken = 0
        is_discarded = False

        def append(self, rows: Features) -> None:
            super().append(rows)
            self.taken += 1
            if self.taken == 3:
                raise VideoError("non_finite", "made up")

        def discard(self) -> None:
            super().discard()
            self.is_discarded = True

    sinks = {"a": RowsInMemory(), "b": Choosy(), "c": RowsInMemory()}
    videos = dict.fromkeys(sinks, clips["plain.mp4"])
    machine = MachineSettings(decoders=2, clip_batch=4)
    outcomes = dict(encode_videos(videos, WHOLE, spacing(), machine, sinks.__getitem__))
    assert {name: getattr(outcome, "reason", "done") for name, outcome in outcomes.items()} == {
        "a": "done",
        "b": "non_finite",
        "c": "done",
    }
    assert np.array_equal(sinks["a"].features, sinks["c"].features)
    assert sinks["b"].is_discarded


class AliveFrames(WholeClips):
    """Counts the frames that somebody still holds whenever clips are encoded."""

    def __init__(self, config: ResizedFrames) -> None:
        super().__init__(config)
        self.frames_made: list[weakref.ref[Any]] = []
        self.alive: list[int] = []

    def frames(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for frame in frames:
            made = frame.copy()
            self.frames_made.append(weakref.ref(made))
            yield made

    def encode(self, clips: Tensor) -> Tensor:
        self.alive.append(sum(frame() is not None for frame in self.frames_made))
        return super().encode(clips)


def test_only_a_few_frames_and_clips_of_a_video_are_held_at_a_time(clips: Clips) -> None:
    encoder = AliveFrames(WholeClipsConfig(name="whole"))
    encoded({"a": clips["plain.mp4"]}, encoder, spacing(fps=90.0, stride_frames=1), MachineSettings(clip_batch=4))
    assert len(encoder.frames_made) == 180
    assert len(encoder.alive) > 40
    assert max(encoder.alive) <= 4 + 4  # of the clip that is cut, and of those of a batch
    network, owner = BatchedNetwork(WHOLE, spacing(), MachineSettings(clip_batch=4)), Vectors()
    items = []
    for number in range(42):
        item = np.full((4, 8, 8, 3), number, np.uint8)
        items.append(weakref.ref(item))
        network.add(owner, [item])
        del item
        assert sum(held() is not None for held in items) < 4
    assert len(owner.vectors) == 40


def test_frames_of_a_rare_shape_do_not_wait_for_ever() -> None:
    network = BatchedNetwork(WHOLE, spacing(), MachineSettings(clip_batch=2))
    owners = [Vectors() for _ in range(40)]
    for number, owner in enumerate(owners, 8):
        network.add(owner, [np.full((4, 8, number, 3), number, np.uint8)])
    assert [network.owes(owner) for owner in owners] == [False] * 24 + [True] * 16
    network.finish()
    expected = [WHOLE.encode(torch.full((1, 4, 8, number, 3), number))[:, :, 0].numpy() for number in range(8, 48)]
    np.testing.assert_allclose(np.concatenate([owner.vectors for owner in owners]), expected, rtol=1e-6)


@pytest.mark.parametrize("frames", [16, 64])
def test_a_batch_for_a_gpu_is_chosen_by_bytes(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    item_bytes = frames * 256 * 455 * 3  # SlowFast's clips have 64 frames, not cropped
    encoder = WholeClipsConfig().build()
    on_cpu = BatchedNetwork(encoder, spacing(clip_frames=frames), MachineSettings())
    monkeypatch.setattr(WholeClips, "device", torch.device("cuda"))
    on_gpu, as_set = (
        BatchedNetwork(encoder, spacing(clip_frames=frames), MachineSettings(clip_batch=size)) for size in (None, 40)
    )
    assert on_cpu.items_at_once(item_bytes) == on_cpu.batch_size
    assert as_set.items_at_once(item_bytes) == 40
    assert on_gpu.items_at_once(item_bytes) == {16: 32, 64: 12}[frames]
    assert on_gpu.items_at_once(item_bytes) * item_bytes <= 256 << 20
    assert on_gpu.items_at_once(1 << 40) == 1


@pytest.mark.parametrize("replaces", [True, False], ids=["by another file", "in place"])
def test_a_video_that_changes_while_it_is_decoded_is_not_stored(clips: Clips, tmp_path: Path, replaces: bool) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(clips["plain.mp4"].read_bytes())

    class Watched(RowsInMemory):
        def append(self, rows: Features) -> None:
            content = video.read_bytes()
            if replaces:
                video.unlink()
            video.write_bytes(content)
            super().append(rows)

    machine = MachineSettings(device="cpu")
    error = dict(encode_videos({"v": video}, COLOR, spacing(), machine, lambda _: Watched()))["v"]
    assert isinstance(error, VideoError)
    assert error.reason == "damaged"
    assert "changed while it was decoded" in error.detail
    assert isinstance(
        dict(encode_videos({"v": video}, COLOR, spacing(), machine, lambda _: RowsInMemory()))["v"], FeatureInfo
    )


def test_each_core_but_one_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 2, 6, 100):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        found.append(num_decoders(MachineSettings()))
    assert found == [1, 1, 5, 16]
    assert num_decoders(MachineSettings(decoders=40)) == 40


def test_one_bad_video_costs_one_video(clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "zero.mp4").write_bytes(b"")
    ffmpeg("-i", clips["plain.mp4"], "-frames:v", "4", tmp_path / "short.mp4")
    videos = {
        "a": clips["plain.mp4"],
        "address": Path("http://127.0.0.1/x.mp4"),
        "b": clips["cover.mp4"],
        "sound": clips["only_sound.mp4"],
        "cut": clips["index_first_cut.mp4"],
        "hole": clips["hole.mp4"],
        "no_index": clips["index_last_cut.mp4"],
        "short": tmp_path / "short.mp4",
        "text": tmp_path / "text.mp4",
        "zero": tmp_path / "zero.mp4",
    }
    outcomes = encoded(videos, COLOR, spacing(), MachineSettings(decoders=2))
    assert {name: getattr(outcome, "reason", "done") for name, outcome in outcomes.items()} == {
        "a": "done",
        "address": "not_a_file",
        "b": "done",
        "sound": "no_video_stream",
        "cut": "truncated",
        "hole": "damaged",
        "no_index": "unreadable",
        "short": "too_short",
        "text": "unreadable",
        "zero": "unreadable",
    }


def test_a_flash_lands_in_the_same_step_whatever_the_frame_rate(tmp_path: Path) -> None:
    scene = "color=black:s=64x48:r=30:d=4,drawbox=c=white:t=fill:enable='between(t,1.99,2.19)'"
    rates = {"constant": [], "variable": ["-vf", "select='lt(n,30)+not(mod(n,3))'", "-fps_mode", "vfr"]}
    for name, rate in rates.items():
        ffmpeg("-f", "lavfi", "-i", scene, *rate, "-pix_fmt", "yuv420p", tmp_path / f"{name}.mp4")
        ffmpeg("-i", tmp_path / f"{name}.mp4", "-c", "copy", tmp_path / f"{name}.mkv")
    brightness = [
        encode_video(tmp_path / f"{name}.{container}", COLOR, spacing(fps=10.0, clip_frames=2), MachineSettings())[0][
            :, 0
        ]
        for name in rates
        for container in ("mp4", "mkv")
    ]
    for other in brightness:
        assert int(other.argmax()) == 10  # frames 20 and 21 at 10 a second
        np.testing.assert_allclose(other[:18], brightness[0][:18], atol=0.02)


def test_sound_and_cover_art_change_no_feature(clips: Clips) -> None:
    plain, sound, cover = (
        encode_video(clips[name], COLOR, spacing(), MachineSettings())[0]
        for name in ("plain.mp4", "sound.mp4", "cover.mp4")
    )
    assert np.array_equal(sound, cover)
    assert difference(plain, sound) < 1e-6


def test_a_warning_reports_frames_with_decoding_errors(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = FrameReader.summary.fget
    monkeypatch.setattr(FrameReader, "summary", property(lambda self: replace(summary(self), corrupt_frames=3)))
    encode_video(clips["plain.mp4"], COLOR, spacing(), MachineSettings())
    assert "plain: 3 of 60 frames have decoding errors" in capsys.readouterr().err


def test_a_clip_length_the_encoder_cannot_take_is_refused(clips: Clips) -> None:
    with pytest.raises(UserError, match="clip_frames is 3"):
        encode_video(clips["plain.mp4"], WHOLE, spacing(clip_frames=3), MachineSettings())


def test_a_hanging_video_is_given_up_and_the_next_ones_done(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, set_fault: Callable[[str], None]
) -> None:
    set_fault("decode:1:hang")
    now, passed_s, is_hanging = time.monotonic, 0.0, True
    monkeypatch.setattr(time, "monotonic", lambda: now() + passed_s)

    def let_time_pass() -> None:
        nonlocal passed_s
        passed_s += 10.0 if is_hanging else 0.0

    videos = dict.fromkeys("ab", clips["plain.mp4"])
    machine = MachineSettings(decoders=1, decode_timeout_s=100.0)
    outcomes = encode_videos(videos, COLOR, spacing(), machine, lambda _: RowsInMemory(), let_time_pass)
    video_id, outcome = next(outcomes)
    assert (video_id, getattr(outcome, "reason", "done")) == ("a", "timeout")
    is_hanging = False
    ((video_id, outcome),) = outcomes
    assert (video_id, getattr(outcome, "reason", "done")) == ("b", "done")


def test_a_decoder_that_crashes_costs_its_own_video_only(
    clips: Clips, set_fault: Callable[[str], None], started: list[subprocess.Popen[bytes]]
) -> None:
    set_fault("decode:2:hang")

    def open_rows(video_id: str) -> RowsInMemory:
        if video_id == "b":
            started[-1].send_signal(signal.SIGSEGV)
        return RowsInMemory()

    videos = dict.fromkeys("abc", clips["plain.mp4"])
    outcomes = dict(encode_videos(videos, COLOR, spacing(), MachineSettings(decoders=2), open_rows))
    assert len(started) == 3
    assert {name: getattr(outcome, "reason", "done") for name, outcome in outcomes.items()} == {
        "a": "done",
        "b": "unreadable",
        "c": "done",
    }


def test_a_signal_ends_the_wait_for_a_hanging_video(clips: Clips, set_fault: Callable[[str], None]) -> None:
    set_fault("decode:1:hang")
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            encode_video(clips["plain.mp4"], COLOR, spacing(), MachineSettings(), stop.raise_if_set)


def test_whatever_the_encoder_does_no_decoder_is_left(clips: Clips, started: list[subprocess.Popen[bytes]]) -> None:
    class TooLarge(WholeClips):
        def encode(self, clips: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("made up")

    encoder = TooLarge(WholeClipsConfig(name="whole"))
    with pytest.raises(torch.OutOfMemoryError):
        encoded(dict.fromkeys("abc", clips["plain.mp4"]), encoder, spacing(), MachineSettings(decoders=2, clip_batch=4))
    assert len(started) >= 2  # with several threads, a third may start before the first batch is asked for
    assert all(process.poll() is not None for process in started)


def test_the_recipe_holds_what_determines_features_and_nothing_else() -> None:
    assert recipe(COLOR, spacing(), "float32") == {
        "encoder": {
            "name": "color",
            "precision": "float32",
            "channels_last": False,
            "short_side": 16,
            "crop": None,
        },
        "weights_sha256": None,
        "features": {
            "fps": 15.0,
            "decode_fps": None,
            "clip_frames": 4,
            "frame_interval": 1,
            "stride_frames": 2,
            "align": "valid",
            "dtype": "float32",
        },
    }

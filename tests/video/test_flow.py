import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from actloc.errors import UserError, VideoError
from actloc.video import frame_transforms
from actloc.video.frame_transforms import FrameStep, OpticalFlow, Resize
from actloc.video.reader import read_frames
from tests.videos import FPS, FRAMES, Clips

GOLDEN = dict(np.load("tests/golden/features/i3d_preprocess.npz"))


def noise(seed: int) -> NDArray[np.uint8]:
    """A frame (48, 64, 3) of soft spots."""
    spots = np.random.default_rng(seed).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    soft = cv2.GaussianBlur(spots, (0, 0), 2).astype(np.float32)
    return ((soft - soft.min()) / (soft.max() - soft.min()) * 255).astype(np.uint8)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Stands in for TV-L1 and keeps count: frames are flat, and each pair of them moves by their difference."""
    seen: list[tuple[int, int]] = []

    def estimate(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append((int(first[0, 0, 0]), int(second[0, 0, 0])))
        return np.full((*first.shape[:2], 2), seen[-1][1] - seen[-1][0], np.float32)

    monkeypatch.setattr(frame_transforms, "_tvl1", lambda: estimate)
    return seen


def shown(*counts: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Flat frames of the values 0, 3, 6, ... and how often each is shown."""
    return ((np.full((2, 2, 3), 3 * number, np.uint8), count) for number, count in enumerate(counts))


def repeated(items: Iterator[tuple[NDArray[np.uint8], int]]) -> list[tuple[int, int]]:
    """Red and the code of the flow along x of every frame that is shown."""
    return [(int(frame[0, 0, 0]), int(frame[0, 0, 3])) for frame, count in items for _ in range(count)]


def test_each_pair_is_computed_once_and_a_repeated_frame_has_no_motion(pairs: list[tuple[int, int]]) -> None:
    found = repeated(OpticalFlow("eight_bit").over(shown(1, 3, 1, 2)))
    moving = round(255 * 23 / 40)
    assert found == [(0, moving), (3, 128), (3, 128), (3, moving), (6, moving), (9, 128)]
    assert pairs == [(0, 3), (3, 6), (6, 9)]


def test_the_last_frame_is_dropped(pairs: list[tuple[int, int]]) -> None:
    assert repeated(OpticalFlow("eight_bit").over(shown(1))) == []
    assert len(repeated(OpticalFlow("eight_bit").over(shown(1, 1, 1)))) == 2
    assert len(pairs) == 2


@pytest.mark.parametrize(
    ("form", "recorded", "tolerance"),
    [("eight_bit", "flow/i3d_input_from_uint8", 0), ("linear", "flow/deepmind_i3d_input", 1e-6)],
)
def test_flow_is_coded_as_its_makers_did(form: str, recorded: str, tolerance: float) -> None:
    values = GOLDEN["flow/values"].reshape(1, -1, 1).repeat(2, axis=2)
    step = OpticalFlow(form)  # type: ignore[arg-type]
    coded = step.with_flow(np.zeros((*values.shape[:2], 3), np.uint8), values)[..., 3:]
    if form == "eight_bit":
        assert np.array_equal(coded[0, :, 0], GOLDEN["flow/dense_flow_uint8_bound20"])
    scaled = coded.astype(np.float64) * 2 / 255 - 1
    assert np.abs(scaled - GOLDEN[recorded][None, :, None]).max() <= max(tolerance, 1e-7)


def test_video_features_codes_are_centred_at_128_and_end_at_256() -> None:
    values = GOLDEN["flow/values"]
    flow = values.reshape(1, -1, 1).repeat(2, axis=2)
    coded = OpticalFlow("video_features").with_flow(np.zeros((*flow.shape[:2], 3), np.uint8), flow)[..., 3:]
    # as its ToUInt8 does after its clamp: a tensor of float32, which stays one
    official = (128 + 255 / 40 * torch.from_numpy(values).clamp(-20, 20)).round()
    assert coded.dtype == np.float32
    assert np.array_equal(coded[0, :, 0], official.numpy())
    assert np.array_equal(coded[0, :, 1], official.numpy())
    by_value = dict(zip(values.tolist(), coded[0, :, 0].tolist(), strict=True))
    assert [by_value[v] for v in (-25, -20, -10, -0.5, 0, 0.5, 10, 19.5, 20, 25)] == [
        *(0, 0, 64, 125, 128, 131, 192, 252, 256, 256)
    ]


def test_flow_points_to_where_the_picture_goes() -> None:
    first = noise(0)
    second = np.roll(first, (1, 2), axis=(0, 1))  # down by 1, right by 2
    ((both, count),) = OpticalFlow("linear").over(iter([(first, 1), (second, 1)]))
    assert both.shape == (48, 64, 5)
    assert both.dtype == np.float32
    assert count == 1
    assert np.array_equal(both[..., :3], first)
    along_x, along_y = np.median((both[8:-8, 8:-8, 3:] / 127.5 - 1) * 20, axis=(0, 1))
    assert along_x == pytest.approx(2, abs=0.1)
    assert along_y == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("form", "still"), [("eight_bit", 128), ("linear", 127.5), ("video_features", 128)])
def test_the_codes_of_no_motion_equal_those_of_tvl1_on_equal_frames(form: str, still: float) -> None:
    step = OpticalFlow(form)  # type: ignore[arg-type]
    frame = noise(1)
    ((computed, _),) = step.over(iter([(frame, 1), (frame.copy(), 1)]))
    assert np.array_equal(computed, step.apply(frame))
    assert (step.apply(frame)[..., 3:] == still).all()


SMALL = Resize("swscale_bicubic", size=(24, 36))


def test_flow_comes_through_the_decoding_process(clips: Clips) -> None:
    steps = (SMALL, OpticalFlow("eight_bit"), Resize("pil_lanczos", size=(20, 30)))
    frames = read_frames(clips["plain.mp4"], fps=5, steps=steps)
    found = list(frames)
    plain = list(read_frames(clips["plain.mp4"], fps=5, steps=(SMALL,)))
    assert frames.summary.num_frames == len(found) == len(plain) - 1 == 9
    ((expected, _),) = steps[1].over(iter([(plain[0], 1), (plain[1], 1)]))
    assert expected.shape == (24, 36, 5)
    assert np.array_equal(found[0], steps[2].apply(expected))


def test_at_a_higher_rate_repeated_frames_have_no_motion(clips: Clips) -> None:
    frames = read_frames(clips["plain.mp4"], fps=2 * FPS, steps=(SMALL, OpticalFlow("eight_bit")))
    stands_still = (np.stack(list(frames))[..., 3:] == 128).all((1, 2, 3))
    assert len(stands_still) == 2 * FRAMES - 1
    assert stands_still[::2].all()
    assert not stands_still[1::2].any()


@pytest.mark.parametrize(
    ("opencv", "told"),
    [
        (None, "is not installed"),
        (SimpleNamespace(__version__="4.11.0"), "is 4.11.0 and has no contrib modules"),
        (SimpleNamespace(__version__="5.0.0", optflow=None), "is 5.0.0 and computes different optical flow"),
        (SimpleNamespace(__version__="4.14.0", optflow=None), "is 4.14.0 and computes different optical flow"),
    ],
)
def test_opencv_is_an_extra_that_is_missed_before_decoding(
    opencv: SimpleNamespace | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    with pytest.raises(UserError, match=rf"(?s){told}.*pip install actloc\[flow\]"):
        read_frames(Path("no such video"), fps=FPS, steps=(OpticalFlow("eight_bit"),))


@pytest.mark.parametrize(
    ("step", "opencv", "is_enough"),
    [
        (Resize("cv2_bilinear", short_side=64), None, False),
        (Resize("cv2_bilinear", short_side=64), SimpleNamespace(__version__="5.0.0"), True),
        (Resize("pil_bilinear", short_side=64), None, True),
    ],
)
def test_resizing_by_opencv_needs_any_opencv(
    step: FrameStep, opencv: SimpleNamespace | None, is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    with pytest.raises(VideoError if is_enough else UserError, match="no such video" if is_enough else "actloc"):
        read_frames(Path("no such video"), fps=FPS, steps=(step,))

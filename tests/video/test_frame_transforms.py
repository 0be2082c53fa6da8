from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from actloc.errors import VideoError
from actloc.video import step_messages
from actloc.video.frame_transforms import Crop, LeftHalf, Resize, bilinear

FRAME = np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8)


SIZES = [(45, 80, 20, 31), (45, 80, 45, 80), (45, 80, 90, 7), (90, 120, 128, 171), (180, 320, 256, 455)]
SIZES += [(720, 1280, 256, 455), (1080, 1920, 128, 171)]
GREY_ULP = 2.0**-16  # from one float32 to the next between 128 and 256


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_bilinear_is_torchs_without_antialiasing(height: int, width: int, new_height: int, new_width: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    given = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    expected = F.interpolate(given, (new_height, new_width), mode="bilinear")[0].permute(1, 2, 0).numpy()
    # A processor without fused multiply-add makes torch itself round a place once more.
    is_fused = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    atol = 4 * GREY_ULP if is_fused else 255 * width * 2.0**-23
    np.testing.assert_allclose(bilinear(frame, new_height, new_width), expected, rtol=0, atol=atol)


def along(frame: np.ndarray, axis: int, new_size: int) -> np.ndarray:
    """A frame in float64, interpolated along one axis at places that are exact until they are rounded to float32."""
    scale = Fraction(float(np.float32(frame.shape[axis]) / np.float32(new_size)))
    exact = (scale * (number + Fraction(1, 2)) - Fraction(1, 2) for number in range(new_size))
    places = np.array([max(np.float32(float(place)), 0) for place in exact])
    first = places.astype(int)
    share = np.expand_dims(places - first, [other for other in range(frame.ndim) if other != axis])
    second = np.minimum(first + 1, frame.shape[axis] - 1)
    return frame.take(first, axis) * (1 - share) + frame.take(second, axis) * share


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_a_place_of_bilinear_is_rounded_once(height: int, width: int, new_height: int, new_width: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    expected = along(along(frame.astype(np.float64), 1, new_width), 0, new_height)
    np.testing.assert_allclose(bilinear(frame, new_height, new_width), expected, rtol=0, atol=4 * GREY_ULP)


@pytest.mark.parametrize(
    ("step", "height", "width", "expected"),
    [
        (Resize("bilinear", short_side=30), 45, 80, (30, 54)),  # 53.33
        (Resize("bilinear", short_side=30, rounding="nearest"), 45, 80, (30, 53)),
        (Resize("bilinear", short_side=30, rounding="floor"), 46, 80, (30, 52)),  # 52.17
        (Resize("bilinear", short_side=30), 80, 45, (54, 30)),
        (Resize("bilinear", short_side=30, only_enlarge=True), 45, 80, (45, 80)),
        (Resize("bilinear", short_side=60, only_enlarge=True), 45, 80, (60, 106)),
        (Resize("bilinear", size=(128, 171)), 45, 80, (128, 171)),
    ],
)
def test_the_size_of_a_resized_frame(step: Resize, height: int, width: int, expected: tuple[int, int]) -> None:
    assert step.target(height, width) == expected


def test_pillow_resizes_each_channel_by_itself() -> None:
    deep = np.concatenate([FRAME, FRAME[..., :2]], axis=2)
    found = Resize("pil_lanczos", size=(20, 30)).apply(deep)
    assert found.shape == (20, 30, 5)
    assert np.array_equal(found[..., :2], found[..., 3:])


@pytest.mark.parametrize(
    ("step", "top", "left"),
    [
        (Crop(40), 2, 20),  # 2.5
        (Crop(40, "ceil"), 3, 20),
        (Crop(40, "round"), 2, 20),
        (Crop(42, "round"), 2, 19),  # 1.5
        (Crop(40, place="start"), 2, 0),
        (Crop(40, place="end"), 2, 40),
    ],
)
def test_the_position_of_a_crop(step: Crop, top: int, left: int) -> None:
    assert np.array_equal(step.apply(FRAME), FRAME[top : top + step.size, left : left + step.size])
    upright = FRAME.transpose(1, 0, 2)
    assert np.array_equal(step.apply(upright), step.apply(FRAME).transpose(1, 0, 2))


def test_a_frame_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(VideoError, match="smaller than the crop"):
        Crop(46).apply(FRAME)


def test_the_left_half_of_an_odd_width() -> None:
    assert np.array_equal(LeftHalf().apply(FRAME[:, :79]), FRAME[:, :39])


def test_a_frame_of_one_column_has_no_left_half() -> None:
    with pytest.raises(VideoError, match="unsupported: the frame is too narrow to halve"):
        LeftHalf().apply(FRAME[:, :1])


def test_steps_reach_the_decoding_process_as_they_are() -> None:
    steps = [Resize("bilinear", size=(3, 4)), Crop(2, "round", place="end"), LeftHalf()]
    assert step_messages.from_json(step_messages.to_json(steps)) == steps


@pytest.mark.parametrize(
    ("at", "top", "left"), [((0, 0), 0, 0), ((1, 1), 5, 40), ((0.5, 0.5), 3, 20), ((0.17, 0.999), 1, 40)]
)
def test_a_crop_can_be_anywhere(at: tuple[float, float], top: int, left: int) -> None:
    assert np.array_equal(Crop(40, place="end", at=at).apply(FRAME), FRAME[top : top + 40, left : left + 40])

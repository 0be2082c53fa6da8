import numpy as np
import pytest
import torch
from torch.nn import functional as F

from actloc.errors import VideoError
from actloc.video import frame_transforms
from actloc.video.frame_transforms import Crop, LeftHalf, Resize, bilinear

FRAME = np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8)


@pytest.mark.parametrize("size", [(20, 31), (45, 80), (64, 114), (90, 7)])
def test_bilinear_is_torchs_without_antialiasing(size: tuple[int, int]) -> None:
    expected = F.interpolate(torch.from_numpy(FRAME).permute(2, 0, 1)[None].float(), size, mode="bilinear")
    np.testing.assert_allclose(bilinear(FRAME, *size), expected[0].permute(1, 2, 0).numpy(), atol=2e-4)


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
def test_where_a_crop_lies(step: Crop, top: int, left: int) -> None:
    assert np.array_equal(step.apply(FRAME), FRAME[top : top + step.size, left : left + step.size])
    upright = FRAME.transpose(1, 0, 2)
    assert np.array_equal(step.apply(upright), step.apply(FRAME).transpose(1, 0, 2))


def test_a_frame_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(VideoError, match="smaller than the crop"):
        Crop(46).apply(FRAME)


def test_the_left_half_of_an_odd_width() -> None:
    assert np.array_equal(LeftHalf().apply(FRAME[:, :79]), FRAME[:, :39])


def test_steps_reach_the_decoding_process_as_they_are() -> None:
    steps = [Resize("bilinear", size=(3, 4)), Crop(2, "round", place="end"), LeftHalf()]
    assert frame_transforms.from_json(frame_transforms.to_json(steps)) == steps

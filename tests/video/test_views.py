"""The crops of tests are those of TAM's recording, and of mmaction2's rule along the longer side."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.errors import VideoError
from actloc.video.frame_transforms import Crop, Resize
from actloc.video.views import three_across, three_along, views

TAM = json.loads(Path("tests/golden/tam/full_res_three_crops.json").read_text())


@pytest.mark.parametrize("case", TAM, ids=lambda case: f"{case['image_w']}x{case['image_h']} {case['crop']}")
def test_three_crops_are_those_of_tam(case: dict[str, Any]) -> None:
    resize = Resize("pil_bilinear", short_side=case["short_side"], rounding="floor")
    height, width = resize.target(case["image_h"], case["image_w"])
    assert [width, height] == case["scaled_w_h"]
    size = case["crop"]
    found = [[left, top, left + size, top + size] for top, left in three_across(height, width, size)]
    assert found == case["three_crops_left_right_center"]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (224, 398, [(0, 0), (0, 174), (0, 87)]),
        (224, 299, [(0, 0), (0, 74), (0, 37)]),  # 75 pixels to spare: the last crop ends one before the edge
        (398, 224, [(0, 0), (174, 0), (87, 0)]),
        (224, 224, [(0, 0), (0, 0), (0, 0)]),
        (256, 300, [(16, 0), (16, 76), (16, 38)]),
    ],
)
def test_crops_along_the_longer_side(height: int, width: int, expected: list[tuple[int, int]]) -> None:
    assert list(three_along(height, width, 224)) == expected


def test_views_are_the_crops_of_every_clip() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 13, 3), np.uint8)
    corners = three_across(8, 13, 7)
    found = views(clips, corners, 7)
    assert (found.shape, found.dtype) == ((12, 3, 7, 7, 3), np.uint8)
    for clip in range(4):
        for crop, (top, left) in enumerate(corners):
            assert np.array_equal(found[3 * clip + crop], clips[clip, :, top : top + 7, left : left + 7])


def test_a_single_view_is_the_centre_that_the_encoders_crop_takes() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 14, 3), np.uint8)
    for crop in (Crop(6), Crop(6, "round"), Crop(6, "ceil"), Crop(6, place="end"), Crop(6, at=(0.9, 0.3))):
        found = views(clips, [crop.corner(9, 14)], 6)
        assert np.array_equal(found, [[crop.apply(frame) for frame in clip] for clip in clips])


@pytest.mark.parametrize("corners", [three_across, three_along])
def test_frames_smaller_than_the_crop_are_refused(corners: Any) -> None:
    with pytest.raises(VideoError, match="unsupported: the frame is smaller than the crop"):
        corners(223, 300, 224)

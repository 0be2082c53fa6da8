"""Rotations and resized crops against slow definitions, and how the changes of a window are drawn."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from actloc.video import step_messages
from actloc.video.augmentation import Mirror, ResizedCrop, Rotation, drawn
from actloc.video.colors import ColorJitter, Photometric
from actloc.video.frame_transforms import Crop, OpticalFlow, Resize
from actloc.video.multi_scale_crop import MultiScaleCrop
from actloc.video.rand_augment import RandAugment

FRAME = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
FRAME[0, :6] = [(0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 255), (7, 7, 200), (200, 7, 7)]


def reflected(place: int, size: int) -> int:
    """The place inside, where places outside mirror those inside and the border is not repeated."""
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


def rotated_pixel(frame: NDArray[np.generic], row: int, column: int, degrees: float) -> NDArray[np.float64]:
    """One pixel of the rotated frame, from the four around the point that it shows."""
    height, width = frame.shape[:2]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    angle = -math.radians(degrees)  # back to where it was
    x = math.cos(angle) * (column - middle_x) - math.sin(angle) * (row - middle_y) + middle_x
    y = math.sin(angle) * (column - middle_x) + math.cos(angle) * (row - middle_y) + middle_y
    result = np.zeros(frame.shape[2])
    for corner_y in (math.floor(y), math.floor(y) + 1):
        for corner_x in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - corner_y)) * (1 - abs(x - corner_x))
            result += weight * frame[reflected(corner_y, height), reflected(corner_x, width)].astype(np.float64)
    return result


@pytest.mark.parametrize("shape", [(9, 14), (3, 40), (2, 5)])
@pytest.mark.parametrize("degrees", [0.0, 13.0, -45.0, 45.0, 160.0])
def test_a_rotated_frame_is_what_its_definition_says(shape: tuple[int, int], degrees: float) -> None:
    frame = np.random.default_rng(1).uniform(0, 255, (*shape, 3)).astype(np.float32)
    expected = np.array(
        [[rotated_pixel(frame, row, column, degrees) for column in range(shape[1])] for row in range(shape[0])]
    )
    found = Rotation(degrees).apply(frame)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)
    rounded = Rotation(degrees).apply(frame.astype(np.uint8))
    exact = Rotation(degrees).apply(frame.astype(np.uint8).astype(np.float32))
    assert rounded.dtype == np.uint8
    assert np.array_equal(rounded, np.rint(exact))


def test_rotations_by_right_angles_move_pixels_clockwise() -> None:
    square = FRAME[:9, :9]
    assert np.array_equal(Rotation(90.0).apply(square), np.rot90(square, -1))
    assert np.array_equal(Rotation(180.0).apply(FRAME), FRAME[::-1, ::-1])
    assert np.array_equal(Rotation(0.0).apply(FRAME), FRAME)


def test_a_mirrored_frame_begins_at_the_right() -> None:
    assert np.array_equal(Mirror().apply(FRAME)[3, 0], FRAME[3, -1])
    assert np.array_equal(Mirror().apply(Mirror().apply(FRAME)), FRAME)


def test_a_resized_crop_takes_the_first_part_that_fits() -> None:
    # of 9 x 14 pixels: 0.9 of the area and twice as wide as high is 8 x 15, too wide; a third of it, square, is 6 x 6
    crop = ResizedCrop(4, ((0.9, 2.0), (0.3, 1.0), (0.1, 1.0)), at=(0.999, 0.5))
    assert crop.part(9, 14) == (slice(3, 9), slice(4, 10))
    assert crop.part(14, 9) == (slice(8, 14), slice(2, 8))
    assert crop.part(3, 3) == (slice(1, 3), slice(1, 3))  # 0.9 of it is 2 x 4, too wide; 0.3 of it is 2 x 2
    too_large = ResizedCrop(4, ((0.9, 2.0), (1.0, 1.0)), at=(0.0, 0.0))
    assert too_large.part(9, 14) == (slice(0, 9), slice(2, 11))  # the largest square in the centre
    assert ResizedCrop(4, ((1e-6, 1.0), (0.5, 0.5)), (0.0, 0.0)).part(1, 1) == (slice(0, 1), slice(0, 1))


@pytest.mark.parametrize("size", [4, 6, 20])
def test_a_resized_crop_is_pillows_in_8_bits_and_in_float32(size: int) -> None:
    crop = ResizedCrop(size, ((0.3, 1.0),), at=(0.999, 0.5))
    part = FRAME[3:9, 4:10]
    expected = np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))
    found = crop.apply(FRAME)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    exact = crop.apply(FRAME.astype(np.float32))
    assert (exact.dtype, exact.shape) == (np.float32, (size, size, 3))
    assert np.abs(exact - expected).max() <= 1.0 + 1e-3  # Pillow rounds after each direction
    with_more = crop.apply(np.concatenate([FRAME, FRAME[..., :2]], axis=2))
    assert np.array_equal(with_more[..., :3], expected)
    assert np.array_equal(with_more[..., 3:], expected[..., :2])


def test_a_resized_crop_interpolates_between_the_centres_of_pixels() -> None:
    row = np.array([[[0.0], [40.0]]], np.float32).repeat(2, axis=0)
    found = ResizedCrop(4, ((1.0, 1.0),), at=(0.0, 0.0)).apply(row)
    np.testing.assert_allclose(found[..., 0], [[0, 10, 30, 40]] * 4, rtol=0, atol=1e-4)


def test_resized_crops_are_drawn_evenly_in_area_in_the_logarithm_of_the_aspect_and_in_place() -> None:
    generator = random.Random(0)
    crops = [ResizedCrop.drawn(generator, 8, (0.08, 1.0), (0.0, 0.0)) for _ in range(400)]
    tries = [one for crop in crops for one in crop.tries]
    assert len(tries) == 4000
    for values, low, high in (
        ([area for area, _ in tries], 0.08, 1.0),
        ([math.log(aspect) for _, aspect in tries], math.log(3 / 4), math.log(4 / 3)),
    ):
        in_tenths = np.histogram(values, bins=10, range=(low, high))[0]
        assert in_tenths.sum() == len(values)
        assert np.abs(in_tenths - 400).max() < 5 * np.sqrt(400)
    [crop] = drawn((Crop(8),), random.Random(1), random_resized_crop=(0.25, 0.25))
    [placed] = drawn((Crop(8),), random.Random(1), random_crop=True)
    assert isinstance(crop, ResizedCrop)
    assert isinstance(placed, Crop)
    assert (crop.at, crop.size) == (placed.at, 8)
    rows, columns = crop.part(60, 100)
    assert abs((rows.stop - rows.start) * (columns.stop - columns.start) / 6000 - 0.25) < 0.02


STEPS = (Resize("bilinear", short_side=32), Crop(31, place="start"), OpticalFlow("linear"), Crop(16))


def test_without_augmentation_the_steps_stay_as_they_are() -> None:
    assert drawn(STEPS, random.Random(0)) == STEPS


def test_drawn_steps_come_before_the_flow_and_place_every_crop() -> None:
    found = drawn(STEPS, random.Random(0), mirror=1.0, random_crop=True, photometric=1.0, rotation=1.0)
    assert [type(step) for step in found] == [Resize, Crop, Photometric, Rotation, Mirror, OpticalFlow, Crop]
    crops = [step for step in found if isinstance(step, Crop)]
    assert len({crop.at for crop in crops}) == 2
    assert [(crop.size, crop.place) for crop in crops] == [(31, "start"), (16, "centre")]
    assert drawn((Crop(8),), random.Random(0), mirror=1.0) == (Crop(8), Mirror())
    assert step_messages.from_json(json.loads(json.dumps(step_messages.to_json(found)))) == list(found)


ALL = {
    "mirror": 1.0,
    "random_crop": True,
    "photometric": 1.0,
    "rotation": 1.0,
    "rand_augment": 2,
    "color_jitter": 0.5,
    "color_jitter_hue": 0.1,
    "training_short_side": 40,
}


def test_operations_and_jitter_follow_the_mirror_and_the_short_side_is_that_of_training() -> None:
    found = drawn(STEPS, random.Random(0), **ALL)
    names = ["Resize", "Crop", "Photometric", "Rotation", "Mirror", "RandAugment", "ColorJitter", "OpticalFlow", "Crop"]
    assert [type(step).__name__ for step in found] == names
    assert found[0] == Resize("bilinear", short_side=40)
    assert drawn((Resize("bilinear", size=(9, 9)),), random.Random(0), training_short_side=40)[0] == Resize(
        "bilinear", size=(9, 9)
    )
    steps = drawn(STEPS[:2], random.Random(0), **{**ALL, "random_crop": False, "random_resized_crop": (0.08, 1.0)})
    names = ["Resize", "ResizedCrop", "Photometric", "Rotation", "Mirror", "RandAugment", "ColorJitter"]
    assert [type(step).__name__ for step in steps] == names
    assert step_messages.from_json(json.loads(json.dumps(step_messages.to_json(steps)))) == list(steps)
    frame = np.random.default_rng(3).integers(0, 256, (50, 90, 3), np.uint8)
    for step in steps:
        frame = step.apply(frame)
    assert frame.shape == (31, 31, 3)


def test_each_of_the_later_settings_draws_the_same_whatever_the_others() -> None:
    every = drawn(STEPS, random.Random(0), **ALL)
    for alone in ({"rand_augment": 2}, {"color_jitter": 0.5, "color_jitter_hue": 0.1}):
        [one] = [
            step for step in drawn(STEPS, random.Random(0), **alone) if isinstance(step, RandAugment | ColorJitter)
        ]
        assert one in every
    more = [step for step in drawn(STEPS, random.Random(0), rand_augment=3) if isinstance(step, RandAugment)]
    [two] = [step for step in every if isinstance(step, RandAugment)]
    assert more[0].operations[:2] == two.operations


def test_the_settings_that_runs_have_used_draw_what_they_always_drew() -> None:
    generator = random.Random(5)
    found = drawn(STEPS, generator, mirror=1.0, random_crop=True, photometric=1.0, rotation=1.0)
    assert found == (
        Resize("bilinear", short_side=32),
        Crop(31, place="start", at=(0.7417869892607294, 0.7951935655656966)),
        Photometric(-6.423022594809922, 1.0, 0.7908646377075014, -0.5281414157000093),
        Rotation(-33.96839105545349),
        Mirror(),
        OpticalFlow("linear"),
        Crop(16, at=(0.9424502837770503, 0.7398985747399307)),
    )
    assert generator.random() == 0.922324996665417
    again = random.Random(5)
    assert [step for step in drawn(STEPS, again, **ALL) if isinstance(step, Photometric | Rotation | Crop)] == [
        step for step in found if isinstance(step, Photometric | Rotation | Crop)
    ]
    assert again.random() == 0.922324996665417


def test_a_multi_scale_crop_takes_the_place_of_a_crop_and_changes_no_other_draw() -> None:
    without, generator = random.Random(5), random.Random(5)
    settings = {key: value for key, value in ALL.items() if key != "random_crop"}
    expected = drawn(STEPS[:2], without, **settings)
    found = drawn(STEPS[:2], generator, **settings, multi_scale_crop=True)
    assert isinstance(found[1], MultiScaleCrop)
    assert found[1].size == 31
    assert [step for step in found if not isinstance(step, MultiScaleCrop)] == [
        step for step in expected if not isinstance(step, Crop)
    ]
    assert generator.random() == without.random()
    assert step_messages.from_json(json.loads(json.dumps(step_messages.to_json(found)))) == list(found)


def test_every_place_and_both_directions_are_equally_likely() -> None:
    generator = random.Random(0)
    grid = np.arange(45 * 45, dtype=np.float32).reshape(45, 45, 1)
    corners = Counter()
    mirrored = 0
    for _ in range(4000):
        crop, *mirror = drawn((Crop(42),), generator, mirror=0.25, random_crop=True)
        corners[int(crop.apply(grid)[0, 0, 0])] += 1
        mirrored += len(mirror)
    assert set(corners) == {45 * top + left for top in range(4) for left in range(4)}
    assert max(abs(count - 250) for count in corners.values()) < 5 * np.sqrt(250)
    assert abs(mirrored - 1000) < 5 * np.sqrt(750)


def test_colours_angles_and_mirroring_are_drawn_apart_and_spread_evenly() -> None:
    generator = random.Random(0)
    kinds: Counter[tuple[str, ...]] = Counter()
    colours: list[Photometric] = []
    angles = []
    for _ in range(8000):
        found = drawn((), generator, mirror=0.5, photometric=0.5, rotation=0.5, rotation_degrees=30.0)
        kinds[tuple(type(step).__name__ for step in found)] += 1
        colours += [step for step in found if isinstance(step, Photometric)]
        angles += [step.degrees for step in found if isinstance(step, Rotation)]
    assert len(kinds) == 8
    assert max(abs(count - 1000) for count in kinds.values()) < 5 * np.sqrt(1000)

    def spread(values: list[float], low: float, high: float) -> None:
        in_tenths = np.histogram(values, bins=10, range=(low, high))[0]
        assert in_tenths.sum() == len(values)
        assert np.abs(in_tenths - len(values) / 10).max() < 5 * np.sqrt(len(values) / 10)

    def half(values: list[float]) -> list[float]:
        assert abs(len(values) - len(colours) / 2) < 5 * np.sqrt(len(colours) / 4)
        return values

    spread(angles, -30, 30)
    spread([step.hue_degrees for step in colours], -18, 18)
    spread(half([step.brightness for step in colours if step.brightness]), -32, 32)
    spread(half([step.contrast for step in colours if step.contrast != 1]), 0.5, 1.5)
    spread(half([step.saturation for step in colours if step.saturation != 1]), 0.5, 1.5)
    orders = Counter(step.channels for step in colours)
    assert len(orders) == 6  # one draw in six of the shuffled half keeps the order
    assert abs(orders[0, 1, 2] - len(colours) * 7 / 12) < 5 * np.sqrt(len(colours) / 4)


def test_the_same_numbers_are_drawn_whatever_the_settings() -> None:
    generators = [random.Random(0) for _ in range(4)]
    settings = ({}, {"mirror": 0.5, "random_crop": True}, {"mirror": 1.0}, {"photometric": 1.0, "rotation": 0.5})
    found = [drawn(STEPS, generator, **one) for generator, one in zip(generators, settings, strict=True)]
    assert len({generator.random() for generator in generators}) == 1
    again = drawn(STEPS, random.Random(0), photometric=1.0, rotation=1.0, mirror=1.0)
    assert set(found[3]) <= set(again)

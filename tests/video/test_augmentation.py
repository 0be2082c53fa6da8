"""Changes of colours and rotations against slow definitions of a single pixel, and how they are drawn."""

import colorsys
import json
import math
import random
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.video import step_messages
from actloc.video.augmentation import Mirror, Photometric, Rotation, drawn
from actloc.video.frame_transforms import Crop, OpticalFlow, Resize

FRAME = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
FRAME[0, :6] = [(0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 255), (7, 7, 200), (200, 7, 7)]
FLOAT = FRAME.astype(np.float32) + np.float32(0.25)
COLOURS = [
    Photometric(),
    Photometric(brightness=20.0, hue_degrees=11.0),
    Photometric(brightness=-31.0, contrast=1.4),
    Photometric(contrast=0.6, saturation=1.5, hue_degrees=-18.0),
    Photometric(saturation=0.5, channels=(2, 0, 1)),
    Photometric(32.0, 1.5, 1.5, 18.0, (1, 2, 0)),
]


def changed_pixel(pixel: NDArray[np.generic], step: Photometric) -> list[float]:
    """The colours of one pixel, by Python's conversion to HSV and back."""
    red, green, blue = (step.contrast * (float(value) + step.brightness) for value in pixel)
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    changed = colorsys.hsv_to_rgb((hue + step.hue_degrees / 360) % 1, saturation * step.saturation, value)
    return [changed[channel] for channel in step.channels]


def changed(frame: NDArray[np.generic], step: Photometric) -> NDArray[np.float64]:
    return np.array([[changed_pixel(pixel, step) for pixel in row] for row in frame])


@pytest.mark.parametrize("step", COLOURS)
def test_colours_change_as_their_definition_says(step: Photometric) -> None:
    found = step.apply(FLOAT)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, changed(FLOAT, step), rtol=0, atol=1e-3)


@pytest.mark.parametrize("step", COLOURS)
def test_colours_of_8_bits_are_rounded_and_clipped_once_at_the_end(step: Photometric) -> None:
    found, exact = step.apply(FRAME), changed(FRAME, step).clip(0, 255)
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() <= 0.5 + 1e-3


def test_unchanged_colours_are_the_same_to_the_bit() -> None:
    assert np.array_equal(Photometric().apply(FRAME), FRAME)


def test_grey_stays_grey_in_any_hue() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(Photometric(saturation=1.5, hue_degrees=170.0).apply(grey), grey)


def test_colours_of_frames_with_flow_are_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)5 channels.*features\.photometric=0"):
        Photometric().apply(np.concatenate([FRAME, FRAME[..., :2]], axis=2))


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

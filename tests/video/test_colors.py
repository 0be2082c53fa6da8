"""Changes of colours against slow definitions of a single pixel, and how a colour jitter is drawn."""

import colorsys
import random
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.video.colors import ColorJitter, Photometric

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


JITTERS = [
    ColorJitter(),
    ColorJitter(0.5, 1.5, 0.7, -0.1),
    ColorJitter(1.5, 1.4, 1.5, 0.1, ("hue", "saturation", "contrast", "brightness")),
    ColorJitter(1.3, 0.5, 0.5, 0.05, ("contrast", "hue", "brightness", "saturation")),
    ColorJitter(1.0, 1.0, 1.5, -0.5, ("saturation", "brightness", "hue", "contrast")),
]


def jittered(frame: NDArray[np.generic], step: ColorJitter) -> NDArray[np.float64]:
    """The frame changed pixel by pixel in float64, with Python's conversion to HSV and back."""
    found = frame.astype(np.float64).clip(0, 255)
    for jitter in step.order:
        grey = found @ [0.299, 0.587, 0.114]
        if jitter == "brightness":
            found = step.brightness * found
        elif jitter == "contrast":
            found = step.contrast * found + (1 - step.contrast) * grey.mean()
        elif jitter == "saturation":
            found = step.saturation * found + (1 - step.saturation) * grey[..., None]
        else:
            in_hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in found.reshape(-1, 3)]
            turned = [colorsys.hsv_to_rgb((hue + step.hue) % 1, *others) for hue, *others in in_hsv]
            found = np.array(turned).reshape(found.shape)
        found = found.clip(0, 255)
    return found


@pytest.mark.parametrize("step", JITTERS)
def test_a_colour_jitter_is_what_its_definition_says(step: ColorJitter) -> None:
    frame = FLOAT.clip(0, 255)
    before = frame.copy()
    found = step.apply(frame)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, jittered(frame, step), rtol=0, atol=2e-3)
    assert np.array_equal(frame, before)
    in_8_bits = step.apply(FRAME)
    assert in_8_bits.dtype == np.uint8
    assert np.abs(in_8_bits - jittered(FRAME, step)).max() <= 0.5 + 2e-3


def test_each_jitter_by_hand() -> None:
    frame = np.array([[(100, 200, 40), (200, 100, 0)]], np.uint8)  # grey 151.86 and 118.5, their mean 135.18
    only = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}

    def found(**changed: float) -> list[list[int]]:
        return ColorJitter(**{**only, **changed}).apply(frame)[0].tolist()

    assert found(brightness=1.5) == [[150, 255, 60], [255, 150, 0]]
    assert found(contrast=0.5) == [[118, 168, 88], [168, 118, 68]]
    assert found(saturation=0.0) == [[152] * 3, [118] * 3]
    assert found(hue=1 / 3) == [[40, 100, 200], [0, 200, 100]]


def test_values_are_clipped_after_each_jitter_so_their_order_matters() -> None:
    frame = np.array([[(100, 200, 40)]], np.uint8)
    brightness_first = ColorJitter(2.0, 1.0, 0.5, 0.0, ("brightness", "saturation", "contrast", "hue"))
    brightness_last = ColorJitter(2.0, 1.0, 0.5, 0.0, ("saturation", "hue", "contrast", "brightness"))
    # 200, 255 and 80 have the grey 218.605; half-way between 100, 200, 40 and their grey are 125.93, 175.93 and 95.93
    assert brightness_first.apply(frame)[0, 0].tolist() == [209, 237, 149]
    assert brightness_last.apply(frame)[0, 0].tolist() == [252, 255, 192]


def test_jitters_are_drawn_evenly_in_their_ranges_and_in_every_order() -> None:
    generator = random.Random(0)
    steps = [ColorJitter.drawn(generator, 0.5, 0.1) for _ in range(4800)]
    orders = Counter(step.order for step in steps)
    assert len(orders) == 24
    assert max(abs(count - 200) for count in orders.values()) < 5 * np.sqrt(200)
    for name, low, high in (
        ("brightness", 0.5, 1.5),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -0.1, 0.1),
    ):
        in_tenths = np.histogram([getattr(step, name) for step in steps], bins=10, range=(low, high))[0]
        assert in_tenths.sum() == len(steps)
        assert np.abs(in_tenths - 480).max() < 5 * np.sqrt(480)


def test_a_jitter_of_frames_with_flow_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)5 channels.*features\.color_jitter=0 and features\.color_jitter_hue=0"):
        ColorJitter().apply(np.concatenate([FRAME, FRAME[..., :2]], axis=2))

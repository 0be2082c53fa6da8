"""The 14 operations of RandAugment by hand, and how they are drawn."""

import json
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageFilter
from PIL.Image import fromarray

from actloc.errors import UserError
from actloc.video import step_messages
from actloc.video.rand_augment import OPERATIONS, RandAugment

FRAME = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
GREY = [128, 128, 128]


def after(name: str, amount: float = 0.0, frame: NDArray[np.uint8] = FRAME) -> NDArray[np.uint8]:
    before = frame.copy()
    found = RandAugment(((name, amount),)).apply(frame)
    assert (found.dtype, found.shape) == (frame.dtype, frame.shape)
    assert np.array_equal(frame, before)
    return found


def blend(other: NDArray[np.generic], factor: float) -> NDArray[np.float64]:
    """The frame times the factor, the other picture times the rest."""
    return (factor * FRAME.astype(np.float64) + (1 - factor) * other).clip(0, 255)


def grey(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.rint(frame @ [0.299, 0.587, 0.114])


def test_identity_and_operations_of_no_amount_change_nothing() -> None:
    for name in set(OPERATIONS) - {"auto_contrast", "equalize"}:
        assert np.array_equal(after(name), FRAME), name


def test_auto_contrast_stretches_each_colour_to_the_whole_range() -> None:
    frame = np.stack([FRAME[..., 0] // 2 + 40, FRAME[..., 1] // 4, FRAME[..., 2]], axis=2)
    found = after("auto_contrast", frame=frame)
    low, high = frame.min((0, 1)).astype(float), frame.max((0, 1)).astype(float)
    assert np.abs(found - 255 * (frame - low) / (high - low)).max() <= 1  # Pillow rounds down
    assert (found.min((0, 1)) == 0).all()
    assert (found.max((0, 1)) >= 254).all()


def test_equalize_spreads_the_values_that_are_there() -> None:
    four = np.array([3, 5, 90, 91], np.uint8).repeat(510).reshape(30, 68, 1).repeat(3, axis=2)
    expected = np.array([0, 85, 170, 255], np.uint8).repeat(510).reshape(30, 68, 1).repeat(3, axis=2)
    assert np.array_equal(after("equalize", frame=four), expected)


@pytest.mark.parametrize(("amount", "kept"), [(4.0, 0b11110000), (3.6, 0b11110000), (2.0, 0b11111100), (0.4, 0xFF)])
def test_posterize_removes_bits(amount: float, kept: int) -> None:
    assert np.array_equal(after("posterize", amount), FRAME & kept)


@pytest.mark.parametrize(("amount", "threshold"), [(256.0, 0), (230.4, 26), (100.0, 156)])
def test_solarize_inverts_values_from_a_threshold_on(amount: float, threshold: int) -> None:
    assert np.array_equal(after("solarize", amount), np.where(threshold <= FRAME, 255 - FRAME, FRAME))


def test_rotate_turns_around_the_centre() -> None:
    assert np.array_equal(after("rotate", 180.0), FRAME[::-1, ::-1])
    square = np.ascontiguousarray(FRAME[:, :10])
    assert np.array_equal(after("rotate", 90.0, square), np.rot90(square))
    turned = after("rotate", 27.0)
    assert all(turned[y, x].tolist() == GREY for y in (0, -1) for x in (0, -1))
    plain = np.full((31, 31, 3), 200, np.uint8)
    assert (after("rotate", -27.0, plain)[10:21, 10:21] == 200).all()


def test_shears_move_rows_and_columns_by_their_distance_from_the_centre() -> None:
    across, down = (
        after("shear_x", 2.0),
        after("shear_y", 2.0),
    )  # row r by 2 r + 1 - 10 pixels, column c by 2 c + 1 - 14
    for row in range(10):
        sources = np.arange(14) + 2 * row + 1 - 10
        expected = [FRAME[row, x].tolist() if 0 <= x < 14 else GREY for x in sources]
        assert across[row].tolist() == expected
    for column in range(14):
        sources = np.arange(10) + 2 * column + 1 - 14
        expected = [FRAME[y, column].tolist() if 0 <= y < 10 else GREY for y in sources]
        assert down[:, column].tolist() == expected
    assert np.array_equal(after("shear_x", -2.0)[::-1], after("shear_x", 2.0, np.ascontiguousarray(FRAME[::-1])))


def test_translations_move_by_whole_pixels_in_both_directions() -> None:
    left, up = after("translate_x", 0.41), after("translate_y", 0.41)  # 5.74 and 4.1 pixels
    assert np.array_equal(left[:, :8], FRAME[:, 6:])
    assert (left[:, 8:] == 128).all()
    assert np.array_equal(up[:6], FRAME[4:])
    assert (up[6:] == 128).all()
    right = after("translate_x", -0.41)
    assert np.array_equal(right[:, 6:], FRAME[:, :8])
    assert (right[:, :6] == 128).all()


@pytest.mark.parametrize("amount", [0.81, -0.81, 0.3])
def test_colour_contrast_brightness_and_sharpness_blend_with_another_picture(amount: float) -> None:
    in_grey = grey(FRAME)
    smooth = np.asarray(fromarray(FRAME).filter(ImageFilter.SMOOTH))
    others = {
        "color": in_grey[..., None],
        "contrast": np.full(3, np.rint(in_grey.mean())),
        "brightness": np.zeros(3),
        "sharpness": smooth,
    }
    for name, other in others.items():
        # 1 for rounding down, and the grey of Pillow may be one step away
        limit = 1 + 1e-3 + abs(amount) * (name in ("color", "contrast"))
        assert np.abs(after(name, amount) - blend(other, 1 + amount)).max() <= limit, name
    if amount > 0.5:
        assert after(name, amount).std() > FRAME.std()


def test_operations_follow_one_another() -> None:
    both = RandAugment((("translate_x", 0.5), ("solarize", 256.0))).apply(FRAME)
    assert np.array_equal(both[:, :7], 255 - FRAME[:, 7:])
    assert (both[:, 7:] == 255 - 128).all()


def test_float32_is_rounded_to_8_bits_before() -> None:
    step = RandAugment((("shear_x", 0.27), ("contrast", 0.81)))
    found = step.apply(FRAME.astype(np.float32) + np.float32(0.4))
    assert found.dtype == np.float32
    assert np.array_equal(found, step.apply(FRAME).astype(np.float32))
    beyond = np.array([[(-3.0, 255.7, 12.5)]], np.float32)
    assert RandAugment((("identity", 0.0),)).apply(beyond).tolist() == [[[0, 255, 12]]]


def test_frames_with_flow_are_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)5 channels.*features\.rand_augment=0"):
        RandAugment(()).apply(np.concatenate([FRAME, FRAME[..., :2]], axis=2))


def test_operations_are_drawn_equally_often_in_both_directions() -> None:
    generator = random.Random(0)
    steps = [RandAugment.drawn(generator, 2, 9) for _ in range(7000)]
    drawn = Counter(name for step in steps for name, _ in step.operations)
    assert sorted(drawn) == sorted(OPERATIONS)
    assert len(OPERATIONS) == 14
    assert max(abs(count - 1000) for count in drawn.values()) < 5 * np.sqrt(1000)
    twice = sum(step.operations[0][0] == step.operations[1][0] for step in steps)
    assert abs(twice - 500) < 5 * np.sqrt(500)
    amounts = Counter((name, round(amount, 4)) for step in steps for name, amount in step.operations)
    either_way = {"rotate": 27, "shear_x": 0.27, "shear_y": 0.27, "translate_x": 0.4079, "translate_y": 0.4079}
    either_way |= dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 0.81)
    one_way = {"identity": 0, "auto_contrast": 0, "equalize": 0, "posterize": 3.6, "solarize": 230.4}
    assert set(amounts) == {
        *one_way.items(),
        *either_way.items(),
        *((name, -most) for name, most in either_way.items()),
    }
    for name, most in either_way.items():
        assert abs(amounts[name, most] - drawn[name] / 2) < 5 * np.sqrt(drawn[name] / 4)


def test_a_decoding_process_gets_the_same_operations() -> None:
    step = RandAugment.drawn(random.Random(1), 3, 9)
    assert step_messages.from_json(json.loads(json.dumps(step_messages.to_json([step])))) == [step]


def test_a_decoding_process_imports_pillow_only_for_frames_that_need_it() -> None:
    code = "import sys, actloc.video.clip_worker; print([one for one in ('torch', 'PIL') if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

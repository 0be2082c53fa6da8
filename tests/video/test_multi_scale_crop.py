"""The multi-scale crop of training is TAM's: its sizes, its places, and Pillow's pixels."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actloc.video.multi_scale_crop import MultiScaleCrop

TAM = json.loads(Path("tests/golden/tam/multiscale_crop.json").read_text())


@pytest.mark.parametrize("case", TAM, ids=lambda case: f"{case['image_w']}x{case['image_h']}")
def test_sizes_and_places_are_those_of_tam(case: dict[str, Any]) -> None:
    for pair, (width, height) in enumerate(case["crop_pairs_w_h"]):
        for place, (left, top) in enumerate(case["offsets13"][f"{width}x{height}"]):
            rows, columns = MultiScaleCrop(224, pair, place).part(case["image_h"], case["image_w"])
            assert (rows.start, rows.stop) == (top, top + height)
            assert (columns.start, columns.stop) == (left, left + width)


def test_the_part_is_resized_by_pillow() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 90, 3), np.uint8)
    for pair, box in ((0, (0, 0, 64, 64)), (1, (0, 0, 56, 64)), (9, (0, 0, 42, 42))):
        expected = Image.fromarray(frame).crop(box).resize((50, 50), Image.Resampling.BILINEAR)
        found = MultiScaleCrop(50, pair, 0).apply(frame)
        assert (found.shape, found.dtype) == ((50, 50, 3), np.uint8)
        assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", [1, 2, 41, 43])
def test_a_part_of_a_small_frame_is_inside(size: int) -> None:
    for pair in range(10):
        for place in range(13):
            rows, columns = MultiScaleCrop(43, pair, place).part(size, size + 3)
            assert 0 <= rows.start < rows.stop <= size
            assert 0 <= columns.start < columns.stop <= size + 3


def test_pairs_and_places_are_equally_likely() -> None:
    generator = random.Random(0)
    crops = [MultiScaleCrop.drawn(generator, 8) for _ in range(5000)]
    for values, count in ((Counter(crop.pair for crop in crops), 10), (Counter(crop.place for crop in crops), 13)):
        assert values.keys() == set(range(count))
        assert max(abs(found - 5000 / count) for found in values.values()) < 5 * (5000 / count) ** 0.5

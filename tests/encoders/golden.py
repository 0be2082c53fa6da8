"""What encoders' fixtures are made from: inputs, weights, and how near to the recorded numbers ours must come."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.golden.fill import fill

FEATURES = Path("tests/golden/features")
TOLERANCE = 1e-5  # of the standard deviation; the fixtures' README allows 1e-4


def keys(name: str) -> dict[str, tuple[int, ...]]:
    """The official parameters of a network in their order, with their shapes."""
    listed = json.loads((FEATURES / f"{name}.keys.json").read_text())["keys"]
    return {key: tuple(shape) for key, shape, _ in listed}


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The fixtures' weights by their names; what counts batches stays 0."""
    return dict(_filled(tuple(shapes.items())))


@functools.lru_cache(maxsize=2)  # tests of one network follow each other, and drawing 30 million numbers takes a second
def _filled(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Tensor]:
    return {
        key: torch.tensor(0) if key.endswith("num_batches_tracked") else torch.from_numpy(fill(key, shape))
        for key, shape in shapes
    }


def clip(seed: int, shape: tuple[int, ...], block: int) -> NDArray[np.float32]:
    """The input (N, C, T, H, W) of a fixture, made of squares of `block` pixels."""
    *outer, height, width = shape
    coarse = (*outer, -(-height // block), -(-width // block))
    values = np.random.RandomState(seed).standard_normal(coarse).astype(np.float32)
    values = values.repeat(block, axis=-2).repeat(block, axis=-1)[..., :height, :width]
    return np.ascontiguousarray(values * np.float32(1000))


def recorded(name: str, given: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The fixture's arrays, once `given` is proven to be its input."""
    arrays = dict(np.load(FEATURES / f"{name}.npz"))
    assert hashlib.sha256(given.tobytes()).digest() == arrays["input_sha256"].tobytes()
    return arrays


def probe(output: Tensor) -> NDArray[np.float32]:
    """What a fixture keeps of a module's output: mean, deviation and 32 of its values."""
    flat = output.contiguous().flatten().numpy()
    return np.concatenate([[flat.mean(), flat.std()], flat[np.random.RandomState(0).randint(0, flat.size, 32)]])


def error(found: NDArray[np.float32] | Tensor, expected: NDArray[np.float32]) -> float:
    """The largest difference, in standard deviations of what was expected."""
    return float(np.abs(np.asarray(found) - expected).max() / expected.std())

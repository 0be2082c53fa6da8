"""Deterministic weights: every tensor of a state dict is a pure function of its key and shape.

A fixture then stores only keys, shapes, inputs and outputs, and still checks a full-size model.

Copied from the parity fixtures (parity/fill.py), which were made with exactly this rule.
"""

import zlib

import numpy as np


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of the tensor `key` of `shape`.

    Frozen rule: RandomState(crc32(key)).standard_normal(shape), then
    * key ends in "running_var":            0.5 + |x|
    * key ends in "running_mean":           0.1 x
    * at most one dimension, ends "weight" or "scale": 1 + 0.1 x     (norm gains)
    * at most one dimension otherwise:      0.1 x                     (biases)
    * two or more dimensions:               x / sqrt(numel / shape[0]) (fan-in scaling)
    Integer buffers (num_batches_tracked, index tables) are not filled: the model's own stay.
    """
    x = np.asarray(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape))
    if key.endswith("running_var"):
        x = 0.5 + np.abs(x)
    elif key.endswith("running_mean"):
        x = 0.1 * x
    elif len(shape) <= 1:
        x = 1 + 0.1 * x if key.endswith(("weight", "scale")) else 0.1 * x
    else:
        x = x / np.sqrt(x.size / shape[0])
    return np.asarray(x, dtype=np.float32)

"""Weights of a network over pictures for one over clips (Carreira and Zisserman 2017, arXiv 1705.07750)."""

from collections.abc import Mapping

import torch
from torch import Tensor


def inflated(pictures: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Kernels (O, I, H, W) of `pictures` as (O, I, T, H, W), where `shapes` has five axes; others are as they were.

    They are repeated along time and divided by T, so that a clip of equal pictures gives what one picture gives.
    """
    return {
        name: weight[:, :, None].repeat(1, 1, shapes[name][2], 1, 1) / shapes[name][2]
        if weight.dim() == 4 and len(shapes.get(name, ())) == 5
        else weight
        for name, weight in pictures.items()
    }

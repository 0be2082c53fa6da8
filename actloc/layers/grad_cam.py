"""Grad-CAM: where a map speaks for a score (Selvaraju et al. 2017, arXiv 1610.02391), for clips.

The gradient's mean over height and width is the weight of a channel at each time: clips are not averaged over time.
"""

from types import TracebackType
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_RANGE = 1e-20  # of a heat map, so that one of zeros stays zero


class Watched:
    """Inside it, what a module makes with gradients on is kept, with the gradient that reaches it later.

    What comes before the module gets no gradient: where its weights ask for none either, nothing of it is kept.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.outputs: list[Tensor] = []
        """One for each call, in order; a backward pass through what follows gives each its `grad`."""

    def __enter__(self) -> Self:
        self._hook = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hook.remove()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> Any:  # Any: whatever the module takes and gives
        if not isinstance(output, Tensor) or not torch.is_grad_enabled():
            return output
        kept = output.detach().requires_grad_()
        self.outputs.append(kept)
        return kept.clone()  # what follows may change it in place

    def backward(self, score: Tensor) -> None:
        """Passes the gradient of a score back to these outputs, and to no weights."""
        if self.outputs:
            score.backward(inputs=self.outputs)  # type: ignore[no-untyped-call]

    def with_gradients(self) -> tuple[Tensor, Tensor]:
        """The outputs of all calls that a gradient has reached, one after the other, and these gradients.

        Both are float32 or finer; without such calls they are empty.
        """
        reached = [(one.detach(), one.grad) for one in self.outputs if one.grad is not None]
        if not reached:
            return torch.zeros(0), torch.zeros(0)
        outputs, gradients = (torch.cat(parts) for parts in zip(*reached, strict=True))
        exact = torch.promote_types(outputs.dtype, torch.float32)
        return outputs.to(exact), gradients.to(exact)


def class_maps(maps: Tensor, gradients: Tensor) -> Tensor:
    """(S, t, h, w), at least 0, of maps (S, C, t, h, w) and a score's gradient at them: where they raise the score."""
    return (gradients.mean((3, 4), keepdim=True) * maps).sum(1).relu()


def resized(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(S, T, H, W) of maps (S, t, h, w): trilinear, corners not aligned."""
    return F.interpolate(maps[:, None], size, mode="trilinear", align_corners=False)[:, 0]


def heat(maps: Tensor) -> Tensor:
    """Maps (S, T, H, W) moved and scaled to 0 to 1, each clip by its own smallest and largest value."""
    lowest, highest = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - lowest) / (highest - lowest + SMALLEST_RANGE)

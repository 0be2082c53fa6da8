"""Counts the memory that training needs, in bytes of tensors, which are the same on every machine."""

import weakref
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor


class SavedBytes:
    """A context that counts the bytes which autograd keeps for the backward pass: each storage once, without weights.

    What block checkpointing computes again in the backward pass counts while it exists.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._not_counted = {weight.untyped_storage().data_ptr() for weight in weights}
        self._held: Counter[int] = Counter()
        self._now = 0
        self.peak = 0
        """The most bytes at any time so far."""
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> "_Held":
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self._not_counted:
            return _Held(tensor)
        held = _Held(tensor)
        self._held[place] += 1
        if self._held[place] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)
        weakref.finalize(held, self._release, place, size)
        return held

    @staticmethod
    def _unpack(held: "_Held") -> Tensor:
        return held.tensor

    def _release(self, place: int, size: int) -> None:
        self._held[place] -= 1
        if self._held[place] == 0:
            self._now -= size

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)


class _Held:
    """A tensor that autograd keeps."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

"""Counts the memory that training needs, in bytes of tensors, which are the same on every machine."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that counts the bytes of all live tensors: each storage once, from the first operation that meets it.

    Those of `existing` count from the start. Memory inside an operation, such as a convolution's workspace, does not.
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: set[int] = set()
        self.now = 0
        self.peak = 0
        """The most bytes at any time since the start, or the last `restart`."""
        for tensor in existing:
            self._meet(tensor)

    def restart(self) -> None:
        """Forgets the peak so far."""
        self.peak = self.now

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # Any: whatever torch's operations take and return
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            if isinstance(value, Tensor):
                self._meet(value)
        return result

    def _meet(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        number, size = id(storage), storage.nbytes()  # torch keeps the Python object for as long as the memory lives
        if number in self._known:
            return
        self._known.add(number)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, number, size).atexit = False

    def _forget(self, number: int, size: int) -> None:
        self._known.remove(number)
        self.now -= size


class SavedBytes:
    """A context that counts the bytes which autograd keeps for the backward pass: each storage once, without weights.

    What block checkpointing computes again in the backward pass counts while it exists.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._weights = [weight.untyped_storage() for weight in weights]
        self._not_counted = {id(storage) for storage in self._weights}
        self._held: Counter[int] = Counter()
        self._now = 0
        self.peak = 0
        """The most bytes at any time so far."""
        self._contexts = ExitStack()

    def _pack(self, tensor: Tensor) -> "_Held":
        held = _Held(tensor)
        self._count(tensor, held)
        return held

    @staticmethod
    def _unpack(held: "_Held") -> Tensor:
        return held.tensor

    def _count(self, tensor: Tensor, keeper: object) -> None:
        """Counts the tensor's storage until `keeper` is gone."""
        storage = tensor.untyped_storage()
        number, size = id(storage), storage.nbytes()  # as above; tensors without values have no address
        if number in self._not_counted:
            return
        self._held[number] += 1
        if self._held[number] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)
        weakref.finalize(keeper, self._release, number, size).atexit = False

    def _release(self, number: int, size: int) -> None:
        self._held[number] -= 1
        if self._held[number] == 0:
            self._now -= size

    def _recomputing(self, own_hooks: Callable[..., Any]) -> Callable[..., Any]:  # Any: torch's own class
        """The hooks with which checkpointing keeps what it computes again, and which replace ours while it does so."""

        def counting(*arguments: Any) -> Any:
            hooks = own_hooks(*arguments)
            keep = hooks.pack_hook

            def pack(tensor: Tensor) -> Any:
                self._count(tensor, tensor.untyped_storage())
                return keep(tensor)

            hooks.pack_hook = pack
            return hooks

        return counting

    def __enter__(self) -> Self:
        self._contexts.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack))
        torchs_own = checkpoint._recomputation_hook
        checkpoint._recomputation_hook = self._recomputing(torchs_own)  # type: ignore[assignment, misc]
        self._contexts.callback(setattr, checkpoint, "_recomputation_hook", torchs_own)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._contexts.close()


class _Held:
    """A tensor that autograd keeps."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

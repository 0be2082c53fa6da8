"""Runs the encoder on batches that several videos share, always of the same size."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder
from actloc.layers.precision import computing_in
from actloc.settings.code_errors import wrong_return
from actloc.settings.sections import MachineSettings
from actloc.store.info import Features
from actloc.video.windows import ClipSpacing

_MOST_FRAMES = {"cpu": 32, "cuda": 128}
"""Frames per batch of a framewise encoder. On a CPU more are no faster, and a short video should busy several cores."""
_MOST_WORKERS = 16  # each needs memory for the inside of the network: 100 to 200 MB for a clip of 16 frames
_GPU_BATCH = 32
_GPU_BATCH_BYTES = 256 << 20
"""Of a batch for a GPU, in memory that cannot be swapped: 11 clips of SlowFast's 64 frames."""
_MOST_SHAPES = 16
"""Most frame shapes with incomplete batches; above that, the batch that has waited longest is run."""
_DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.float32): torch.float32}


class Receiver(Protocol):
    """The owner of items in a batch, which receives what the network makes of them."""

    def receive(self, vectors: Features) -> None:
        """Takes the vectors (v, C) of the next clip, or the vector (c,) of the next frame."""


def batch_size(encoder: ClipEncoder, spacing: ClipSpacing, machine: MachineSettings, device_type: str) -> int:
    """Number of items per batch on a device of this type, cpu or cuda."""
    clips = machine.clip_batch or (encoder.cpu_batch if device_type == "cpu" else _GPU_BATCH)
    return min(clips * spacing.stride_frames, _MOST_FRAMES[device_type]) if encoder.is_framewise else clips


def num_workers() -> int:
    """Batches that a CPU computes at a time: as many as torch has threads, at most 16."""
    return min(torch.get_num_threads(), _MOST_WORKERS)


@contextmanager
def workers(device_type: str) -> Iterator[Executor | None]:
    """Threads for `BatchedNetwork`, as many as torch uses; None where one, or a GPU, computes all batches.

    A batch is computed by one thread, and several batches at a time. So the vectors are the same, to the last bit, for
    any number of threads; threads that share a batch round differently, and all wait where a decoder takes a core from
    one of them.
    """
    num_threads = torch.get_num_threads()
    if device_type != "cpu" or num_threads == 1:
        yield None
        return
    pool = ThreadPoolExecutor(num_workers(), "encoder", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)  # for threads that start later, to which the workers' number applies too


class BatchedNetwork:
    """Runs the encoder on batches of items: frames if it works frame by frame, otherwise clips.

    The vector of an item must not depend on what else is decoded, so all batches have the same size, padded if needed:
    each item is then computed in the same way, to the last bit. With `pool`, of `workers`, batches are computed there.
    """

    def __init__(
        self, encoder: ClipEncoder, spacing: ClipSpacing, machine: MachineSettings, pool: Executor | None = None
    ) -> None:
        self._encoder, self._pool = encoder, pool
        self.batch_size = batch_size(encoder, spacing, machine, encoder.device.type)
        self._is_by_bytes = encoder.device.type != "cpu" and machine.clip_batch is None
        self.num_at_once = 1 if pool is None else num_workers()
        self.most_ahead = 0 if encoder.device.type == "cpu" else 1
        """How many batches may be unfinished while the next one is assembled."""
        if pool is not None:
            self.most_ahead = self.num_at_once + 1  # one more, for the first worker that is free
        self._waiting: dict[tuple[int, ...], list[tuple[Receiver, NDArray[Any]]]] = {}  # by shape
        self._computing: deque[tuple[list[Receiver], Tensor | Future[Tensor]]] = deque()

    def add(self, owner: Receiver, items: Sequence[NDArray[Any]]) -> None:
        """Adds the owner's next items and runs every full batch; also the oldest ones if too many shapes wait."""
        for item in items:
            alike = self._waiting.setdefault(item.shape, [])
            alike.append((owner, item))
            if len(alike) == self._size(item.nbytes):
                self._run(self._waiting.pop(item.shape))
        while len(self._waiting) > _MOST_SHAPES:
            self._run(self._waiting.pop(next(iter(self._waiting))))

    def items_at_once(self, item_bytes: int) -> int:
        """How many items of this size to take from a video at a time; one, where the size is not known and matters."""
        return self._size(item_bytes or _GPU_BATCH_BYTES)

    def _size(self, item_bytes: int) -> int:
        """Items of this size in a batch, which depends on nothing else."""
        return min(self.batch_size, max(1, _GPU_BATCH_BYTES // item_bytes)) if self._is_by_bytes else self.batch_size

    def finish(self) -> None:
        """Runs the incomplete batches."""
        while self._waiting:
            self._run(self._waiting.popitem()[1])
        self._hand_out(0)

    def owes(self, owner: Receiver) -> bool:
        """Whether the owner has not received a vector for each of its items."""
        waiting = any(one is owner for alike in self._waiting.values() for one, _ in alike)
        return waiting or any(one is owner for owners, _ in self._computing for one in owners)

    def forget(self, owner: Receiver) -> None:
        """Discards waiting items of an owner that failed."""
        left = {shape: [pair for pair in alike if pair[0] is not owner] for shape, alike in self._waiting.items()}
        self._waiting = {shape: alike for shape, alike in left.items() if alike}

    def _run(self, alike: list[tuple[Receiver, NDArray[Any]]]) -> None:
        first = alike[0][1]
        is_on_gpu = self._encoder.device.type == "cuda"
        batch = torch.zeros(self._size(first.nbytes), *first.shape, dtype=_DTYPES[first.dtype], pin_memory=is_on_gpu)
        places = batch.numpy()
        for place, (_, item) in zip(places, alike, strict=False):
            place[...] = item
        # on a GPU, or with workers, this only starts the work
        vectors = self._vectors(batch) if self._pool is None else self._pool.submit(self._vectors, batch)
        self._computing.append(([owner for owner, _ in alike], vectors))
        self._hand_out(self.most_ahead)

    def _hand_out(self, most_left: int) -> None:
        """Gives owners their vectors, batch after batch, until at most `most_left` are unfinished."""
        while len(self._computing) > most_left:
            owners, computed = self._computing.popleft()
            vectors = computed.result() if isinstance(computed, Future) else computed
            for owner, own in zip(owners, vectors.cpu().numpy(), strict=False):
                owner.receive(own)

    def _vectors(self, batch: Tensor) -> Tensor:
        encoder = self._encoder
        items = batch.to(encoder.device, non_blocking=True)
        with torch.inference_mode(), computing_in(encoder.config.precision, encoder.device):
            if not encoder.is_framewise:
                return vectors_of(encoder, encoder.encode, items)
            vectors = encoder.frame_vectors(items)
        if not isinstance(vectors, Tensor) or vectors.dim() != 2 or len(vectors) != len(items):
            raise wrong_return(vectors, f"vectors (N, c) of {len(items)} frames", encoder.frame_vectors)
        return vectors.float()  # NumPy has no bfloat16


def vectors_of(encoder: ClipEncoder, encode: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """The vectors (S, v, C) float32 that `encode`, a method of the encoder, returns for the clips (S, F, ...)."""
    features = encode(items)  # (S, C, v)
    expected = len(items), encoder.channels, encoder.vectors_per_clip(items.shape[1])
    if not isinstance(features, Tensor) or features.shape != expected:
        raise wrong_return(features, f"a tensor {expected}: clips, channels, vectors of a clip", encode)
    return features.mT.float().contiguous()

"""What Ray runs on the machines of a cluster: a task that decodes a video, an actor that encodes pieces of videos."""

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, ready
from actloc.errors import ActlocError, EnvironmentProblem, UserError, VideoError
from actloc.extraction.batches import BatchedNetwork
from actloc.extraction.ray_pieces import clip_pieces, frame_pieces, from_bytes, to_bytes
from actloc.settings.code_errors import blaming
from actloc.settings.code_files import Packed
from actloc.settings.sections import MachineSettings
from actloc.store.filling import state_of
from actloc.store.info import Features
from actloc.video.frame_transforms import FrameStep
from actloc.video.reader import read_frames
from actloc.video.windows import ClipSpacing, Picking

Row = dict[str, Any]  # a row of Ray Data


class Decoding:
    """The task that decodes one video and yields its pieces; the last row holds the outcome."""

    def __init__(
        self,
        steps: Sequence[FrameStep],
        spacing: ClipSpacing,
        machine: MachineSettings,
        batch_size: int,
        is_framewise: bool,
    ) -> None:
        self._steps, self._spacing, self._machine = steps, spacing, machine
        self._batch_size, self._is_framewise = batch_size, is_framewise

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[dict[str, list[Any]]]:
        """Rows of the video in `batch`, one at a time."""
        video_id, number = str(batch["video_id"][0]), 0
        spacing, machine = self._spacing, self._machine
        path = Path(str(batch["path"][0]))
        try:
            state = state_of([path])
            with read_frames(
                path,
                fps=spacing.fps,
                decode_fps=spacing.decode_fps,
                steps=self._steps,
                reader=machine.reader,
                timeout_s=machine.decode_timeout_s,
            ) as reader:
                count = self._batch_size
                if self._is_framewise:
                    cut = frame_pieces(reader, count)
                else:
                    cut = clip_pieces(reader, spacing, count, lambda: reader.picking)
                for number, piece in enumerate(cut, 1):
                    yield row(video_id, number - 1, piece=to_bytes(piece), picking=reader.picking)
                end: Row = {"summary": asdict(reader.summary), "state": state}
        except VideoError as error:
            end = {"failure": error.args}
        except ActlocError as error:  # such as a decoder that is not installed on that machine
            end = refusal(error)
        except OSError as error:
            end = refusal(machine_problem(error))
        yield row(video_id, number, end=json.dumps(end))


@dataclass(frozen=True)
class EncoderCopy:
    """What another process needs to build the same encoder, from the same files and to the last bit."""

    config: EncoderConfig
    weights_sha256: str | None
    device: str
    folder: Path
    """Folder that the settings' paths are relative to."""

    @classmethod
    def of(cls, encoder: ClipEncoder, device: str) -> "EncoderCopy":
        """Describes how to copy `encoder` to `device`, cpu or cuda; Ray chooses among several GPUs."""
        return cls(encoder.config, encoder.weights_sha256, device, Path.cwd())

    def build(self) -> ClipEncoder:
        """Builds the encoder; raises UserError if its weights are missing or different."""
        torch.set_num_threads(1)  # as in each of `batches.workers`: several would round differently
        with contextlib.chdir(self.folder):
            encoder = ready(built(self.config), torch.device(self.device))
        if encoder.weights_sha256 != self.weights_sha256:
            raise UserError(
                f"The encoder's weights have sha256 {encoder.weights_sha256}.",
                f"Expected {self.weights_sha256}, as on the machine where the command was started.",
                "Copy the same weights file to that machine.",
            )
        return encoder


class Encoding:
    """The actor that holds an encoder and runs it on pieces."""

    def __init__(self, copy: EncoderCopy, spacing: ClipSpacing, machine: MachineSettings) -> None:
        self._spacing, self._machine = spacing, machine
        self._refusal = ""
        try:
            self._encoder = copy.build()
        except ActlocError as error:  # returned with the first piece: Ray would restart the actor, and hide the reason
            self._refusal = json.dumps(refusal(error))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """The row in `batch`, with vectors instead of frames in its piece."""
        video_id, number, end = str(batch["video_id"][0]), int(batch["number"][0]), str(batch["end"][0])
        if end or self._refusal:
            return row(video_id, number, end=end or self._refusal)
        frames, clips = from_bytes(batch["piece"][0])
        items = list(frames if clips is None else (frames[places] for places in clips))
        network, received = BatchedNetwork(self._encoder, self._spacing, self._machine), Vectors()
        network.add(received, items)
        network.finish()
        picking = picking_of(str(batch["picking"][0]))
        return row(video_id, number, piece=to_bytes((np.stack(received.vectors), None)), picking=picking)


class DecodingThere:
    """`Decoding` sent to a worker, which first imports the user's own code in it."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[dict[str, list[Any]]]:
        """The rows of `Decoding`, or why it cannot run there."""
        try:
            decoding = self._packed.opened()
        except ActlocError as error:
            yield row(str(batch["video_id"][0]), 0, end=json.dumps(refusal(error)))
            return
        yield from decoding(batch)


class EncodingThere:
    """`Encoding` in a worker, which first imports the user's own code in the encoder.

    Errors of that code are returned as rows: Ray would only show where in Ray they were raised.
    """

    def __init__(self, packed: Packed) -> None:
        self._refusal = ""
        try:
            with blaming():
                self._encoding = Encoding(*packed.opened())
        except ActlocError as error:
            self._refusal = json.dumps(refusal(error))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """The row of `Encoding`, or why there is none."""
        video_id, number, end = str(batch["video_id"][0]), int(batch["number"][0]), str(batch["end"][0])
        if end or self._refusal:
            return row(video_id, number, end=end or self._refusal)
        try:
            with blaming():
                return self._encoding(batch)
        except ActlocError as error:
            return row(video_id, number, end=json.dumps(refusal(error)))
        except OSError as error:
            return row(video_id, number, end=json.dumps(refusal(machine_problem(error))))


class Vectors:
    """Collects the network's vectors of one piece."""

    def __init__(self) -> None:
        self.vectors: list[Features] = []

    def receive(self, vectors: Features) -> None:
        """Takes what the network made of the next item."""
        self.vectors.append(vectors)


def machine_problem(error: OSError) -> EnvironmentProblem:
    """What the system of a machine of the cluster refused."""
    expected = "Expected a machine with free space, memory and open files."
    return EnvironmentProblem(str(error), expected, "Fix it, then run the same command again.")


def refusal(error: ActlocError) -> Row:
    """The parts of `error`, and the machine it occurred on."""
    where = f"On {socket.gethostname()}"
    return {"refusal": (f"{where}: {error.found}", error.expected, error.fix), "status": error.status}


def row(
    video_id: str, number: int, *, piece: bytes = b"", end: str = "", picking: Picking | None = None
) -> dict[str, list[Any]]:
    """One row in Ray's form: a piece of a video, or its outcome."""
    picking_text = json.dumps(None if picking is None else asdict(picking))
    return {"video_id": [video_id], "number": [number], "piece": [piece], "end": [end], "picking": [picking_text]}


def picking_of(text: str) -> Picking | None:
    """The picking that `row` wrote."""
    values = json.loads(text)
    return None if values is None else Picking(**values)

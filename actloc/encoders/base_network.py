"""What the networks of encoders have in common: they turn clips into feature vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from actloc.encoders.base import EncoderConfig, FromStage
from actloc.errors import UserError
from actloc.files import sha256_of_file
from actloc.layers.precision import at_least_float32
from actloc.layers.recomputation import recompute
from actloc.settings.code_errors import wrong_return
from actloc.structures import Factors
from actloc.video.frame_transforms import OpticalFlow
from actloc.video.windows import ClipSpacing
from actloc.weights.files import load_part

_NORMS = _BatchNorm, nn.LayerNorm, nn.GroupNorm


@contextmanager
def same_draws() -> Iterator[None]:
    """Inside it, torch draws the same numbers in every process, for weights that no file has; later, as without it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class ClipEncoder(nn.Module, ABC):
    """A network over clips; extraction, end-to-end training and recognition call the same methods."""

    channels: int
    """C of the features."""
    clip_multiple: int = 1
    """The length of a clip must be a multiple of this."""
    cpu_batch: int = 32
    """Clips per batch on a CPU, where large batches do not fit in the caches."""
    is_framewise: bool = False
    """Whether a clip's features are pooled from vectors of its frames, which overlapping clips can then share."""
    makes_frames: bool = False
    """Whether `frames` changes the frames: it must then run on the encoder's machine."""
    classifier_name: str | None = None
    """Where `logits` finds its linear layer over the mean vector; None for a classifier of another kind, or none."""
    classifier_std: float = 0.01
    """Deviation of the initial weights of a new classifier."""
    weights_sha256: str | None = None
    """sha256 of the weights file; None if there are no weights."""
    revision: str | None = None
    """The commit of a model that comes from a hub; features record it."""
    class_names: tuple[str, ...] | None = None
    """The classes of its classifier, in order, where the weights name them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def network_input(self, clips: Tensor) -> Tensor:
        """Clips (S, F, H, W, c) of any type as (S, c, F, H, W), in the weights' type and the set memory format."""
        by_channel = clips.permute(0, 4, 1, 2, 3).to(self.dtype)
        return by_channel if self.config.channels_last else by_channel.contiguous()

    @property
    def device(self) -> torch.device:
        """The device that the encoder computes on, even if it has no weights."""
        return self.get_buffer("_anchor").device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights: float32, or float64 after `double()`."""
        return self.get_buffer("_anchor").dtype

    def stages(self) -> list[list[nn.Module]]:
        """The blocks that `encode` runs, from the first to the last, in stages; `trainable` counts these.

        A block is a module that is called with tensors: with checkpointing, its activations are computed again in the
        backward pass. What is in no stage, such as a classifier, does not learn.
        """
        return [list(self.children())]

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks that make a map over time, height and width, by name; the last one is explained unless another is.

        Usually those of `stages` that are neither norms nor linear layers.
        """
        names = {module: name for name, module in self.named_modules()}
        blocks = [block for stage in self.stages() for block in stage if not isinstance(block, (*_NORMS, nn.Linear))]
        return {names[block]: block for block in blocks}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Maps (S, C, t, h, w) of what one of `map_layers` makes of clips of (F, H, W); usually unchanged."""
        return output

    def set_trainable(self, trainable: Literal["all", "none", "adapters"] | FromStage) -> None:
        """Leaves gradients to the weights that learn; raises UserError for a stage that does not exist.

        Those of norms do not learn if the settings say so. Encoders with adapters override it.
        """
        stages = self.stages()
        first = {"all": 0, "none": len(stages)}[trainable] if isinstance(trainable, str) else trainable.from_stage
        if isinstance(trainable, FromStage) and first >= len(stages):
            raise UserError(
                f"features.encoder.trainable.from_stage is {first}.",
                f"Expected at most {len(stages) - 1}: the encoder {self.config.name} has {len(stages)} stages.",
                "Set features.encoder.trainable=none, or a lower stage.",
            )
        self.requires_grad_(False)
        for block in [block for stage in stages[first:] for block in stage]:
            block.requires_grad_(True)
        for norm in [] if self.config.train_norms else [one for one in self.modules() if isinstance(one, _NORMS)]:
            norm.requires_grad_(False)

    def recompute_blocks(self, is_on: bool = True) -> None:
        """Whether, from now on, a block keeps only its input for the backward pass, which runs it again."""
        for block in [block for stage in self.stages() for block in stage]:
            recompute(block, is_on)

    def drop_branches(self, is_on: bool) -> None:
        """Whether the blocks that learn skip branches at random from now on (stochastic depth); usually no-op.

        It is on only while clips that the encoder learns from are encoded. A block that is checkpointed runs again
        later, when it is off: what it computes must not depend on it.
        """

    def zero_pixel(self) -> Tensor:
        """The pixel (c,) or () that `encode` scales to zero: black, if it only divides."""
        return torch.zeros(())

    def vectors_per_clip(self, num_frames: int) -> int:
        """v: the vectors, each for an equal part of the clip, that `encode` makes of a clip of `num_frames` frames."""
        return 1

    def frames(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """The frames that clips are cut from, given those after `config.frame_steps()`; usually unchanged.

        For steps that need a network, such as learned optical flow: they run here, on the encoder's device.
        """
        return frames

    @abstractmethod
    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, v) of clips (S, F, H, W, c), float32 or finer: `vectors_per_clip` each, in order of time.

        Clips consist of pictures after `config.frame_steps()` and `frames`: uint8, or float32 on the same scale, RGB
        first. This method scales the pixels. A clip's features do not depend on how many clips there are, up to
        rounding. Gradients flow unless the caller switches them off. On a CPU, extraction calls it in several threads
        at a time, so it must not change the encoder.
        """

    def check_videos(self, videos: Mapping[str, Path]) -> None:
        """Raises UserError if the encoder needs data about some videos, by id, and does not have it; usually no-op."""

    def video_term(self, video_id: str, file: Path) -> NDArray[np.float32] | None:
        """A term (C,) to add to each vector of this video's clips, such as one of the whole video; usually None."""
        return None

    def frame_vectors(self, frames: Tensor) -> Tensor:
        """Vectors (N, c) of frames (N, H, W, 3) uint8 RGB, for `pool_frames`; framewise encoders only."""
        raise NotImplementedError(f"{type(self).__name__} does not encode frame by frame")

    def pool_frames(self, vectors: Tensor) -> Tensor:
        """Features (S, C, v) of clips from their frames' vectors (S, F, c); framewise encoders only."""
        raise NotImplementedError(f"{type(self).__name__} does not encode frame by frame")

    def feature_map(self, clips: Tensor) -> Tensor:
        """The last map (S, C, t, h, w) of clips (S, F, H, W, c); encoders whose features are means of it only."""
        raise UserError(
            f"The encoder {self.config.name} has no map of features.",
            "Expected an encoder that makes features of a map over time, height and width.",
            "Choose tanet or dualformer.",
        )

    def pooled(self, maps: Tensor, num_frames: int) -> Tensor:
        """The features (S, C, v) of maps (S, C, t, h, w) of clips of `num_frames` frames."""
        vectors = at_least_float32(maps).mean((3, 4))
        return vectors.reshape(*vectors.shape[:2], self.vectors_per_clip(num_frames), -1).mean(3)

    def published_factors(self, *, is_continued: bool = False) -> dict[str, Factors] | None:
        """How each parameter, and `classifier.weight` and `.bias`, learned in published training; None if unknown.

        `is_continued`: where that went on with the classes of the weights."""
        return None

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) before softmax of features (S, C, v); encoders with a classifier only."""
        raise UserError(
            f"The encoder {type(self).__name__} has no classifier.",
            "Expected an encoder whose weights include a classifier.",
            "Choose another encoder: actloc ls encoders",
        )


def load_into(encoder: ClipEncoder, tensors: dict[str, Tensor], path: Path, ignored: Sequence[str] = ()) -> None:
    """Loads `tensors` strictly and records the file's sha256; raises UserError with every tensor that does not fit.

    `ignored` are prefixes of names that the encoder does not use, such as a classifier's.
    """
    wanted = {name: value for name, value in tensors.items() if not name.startswith(tuple(ignored))}
    load_part(encoder, wanted, path, "Choose the encoder that these weights belong to: actloc ls encoders")
    encoder.weights_sha256 = sha256_of_file(path)


def check_clips(encoder: ClipEncoder, spacing: ClipSpacing) -> None:
    """Raises UserError if the encoder cannot take clips of this length, or with frames picked this way."""
    if spacing.clip_frames % (encoder.clip_multiple * spacing.frame_interval):
        needed = encoder.clip_multiple * spacing.frame_interval
        raise UserError(
            f"features.clip_frames is {spacing.clip_frames} and features.frame_interval is {spacing.frame_interval}.",
            f"Expected clip_frames to be a multiple of {needed}: the encoder {encoder.config.name} takes "
            f"{encoder.clip_multiple} frames, or a multiple of them, per clip.",
            f"Set features.clip_frames={needed}",
        )
    count = vectors_per_clip(encoder, spacing)
    if count > 1 and spacing.stride_frames != spacing.clip_frames:
        raise UserError(
            f"features.stride_frames is {spacing.stride_frames} and features.clip_frames is {spacing.clip_frames}, and "
            f"the encoder {encoder.config.name} makes {count} vectors of each clip.",
            "Expected clips back to back, so that the vectors are evenly spaced in time.",
            f"Set features.stride_frames={spacing.clip_frames}",
        )
    decode_fps, fps = spacing.decode_fps, spacing.fps
    has_flow = encoder.makes_frames or any(isinstance(step, OpticalFlow) for step in encoder.config.frame_steps())
    if not has_flow or decode_fps in (None, fps):
        return
    if "native" in (decode_fps, fps) or not (float(decode_fps) / float(fps)).is_integer():
        raise UserError(
            f"features.decode_fps is {decode_fps} and features.fps is {fps}, and the encoder computes optical flow.",
            "Expected decode_fps to be a whole multiple of fps: otherwise each clip picks different frames, and no "
            "frame has a single next one to compute flow to.",
            "Set features.decode_fps=null",
        )


def vectors_per_clip(encoder: ClipEncoder, spacing: ClipSpacing) -> int:
    """The rows that a clip gives."""
    return encoder.vectors_per_clip(spacing.clip_frames // spacing.frame_interval)


def built(config: EncoderConfig) -> ClipEncoder:
    """The encoder with its weights; raises CodeError if a user's own `build` does not return an encoder."""
    encoder = config.build()
    if not isinstance(encoder, ClipEncoder) or not isinstance(getattr(encoder, "channels", None), int):
        raise wrong_return(encoder, "a ClipEncoder that has a number of channels", config.build)
    return encoder


def ready(encoder: ClipEncoder, device: torch.device) -> ClipEncoder:
    """Moves the encoder to `device`, in evaluation mode, with its kernels as they are computed fastest there."""
    torch.backends.cudnn.allow_tf32 = False  # torch's default rounds float32 to 10 bits in GPU convolutions
    encoder = encoder.to(device).eval()
    if encoder.config.channels_last:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in encoder.parameters():
            if parameter.dim() in formats:
                parameter.data = parameter.data.to(memory_format=formats[parameter.dim()])
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _leave_to_onednn(encoder)
    return encoder


def _leave_to_onednn(encoder: ClipEncoder) -> None:
    """Has oneDNN compute convolutions of one pixel, of any length in time, in one thread too, as torch does in several.

    It takes about half of the time. A dilation has no effect on a kernel of width 1, but torch leaves all convolutions
    with a dilation to oneDNN.
    """
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.kernel_size[-2:] == (1, 1):
            layer.dilation = (*layer.dilation[:-1], 2)

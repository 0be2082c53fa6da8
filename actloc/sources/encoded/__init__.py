"""Features made from the videos in every step, by an encoder that may learn with the detector (end-to-end training)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import av
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.end_to_end import combinations, presets
from actloc.end_to_end.augmented import AugmentedConfig
from actloc.errors import VideoError
from actloc.settings.choices import ClipChoice, Outside, Route
from actloc.settings.sections import MachineSettings, Shapes
from actloc.sources.base import SourceConfig
from actloc.video.clip_reader import ClipReader

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from actloc.end_to_end.live_encoder import LiveEncoder
    from actloc.sources.encoded.source import EncodedSource


class Config(AugmentedConfig, SourceConfig):
    """Which clips are encoded, which of them the encoder learns from, and what is kept in memory for that."""

    guide: ClassVar[str] = presets.GUIDE
    replaced: ClassVar[dict[str, tuple[str, ...]]] = {"preset": (*presets.USELESS["trainable"], "encoder.trainable")}
    trains_encoder: ClassVar[bool] = True

    path: Annotated[Path, Shapes("nothing")] = Path("features")
    """Folder, inside the run, for the features that `extract-features RUN` makes with the run's encoder."""
    preset: Annotated[
        Literal["full", "chunked", "etad", "tallformer", "bank_replay", "adatad", "frozen"] | None, Shapes("nothing")
    ] = None
    """Sets the settings below for a way to train; each can still be set. full: all clips, in one backward pass;
    chunked: the same gradient, one chunk at a time; etad: three clips in ten, one chunk at a time; tallformer: three
    clips in twenty, the others from a bank; bank_replay: three in ten, one chunk at a time, the others from a bank;
    adatad: the adapters of an encoder that has some, from all clips; frozen: the encoder does not learn. null: as set.
    """
    fraction: Annotated[float, Field(gt=0, le=1), Shapes("weights")] = 1.0
    """Share of a window's clips that the encoder learns from in a step, rounded down, at least one clip."""
    choice: Annotated[ClipChoice, Shapes("weights")] = "random"
    """Which clips these are: random, uniform (evenly spaced, always the same), uniform_jitter (those, each moved at
    random towards the next: TALLFormer's, which never takes the last clip), stratified (a random one of each equal
    part), or oldest (those whose last turn was longest ago)."""
    round_to: Annotated[PositiveInt, Shapes("weights")] = 1
    """Round the number of these clips up to a multiple of this."""
    shared_draw: Annotated[bool, Shapes("weights")] = False
    """Draw the clips once for all videos of a batch, not for each."""
    others: Annotated[Literal["no_gradient", "bank"], Shapes("weights")] = "no_gradient"
    """What the other clips' features are: encoded without gradient, or those of the last time they were encoded, which
    the run remembers in its bank."""
    bank: Annotated[Path | None, Shapes("nothing")] = None
    """others=bank: the feature store that a run's bank starts from. `extract-features CONFIG` fills it."""
    route: Annotated[Route, Shapes("nothing")] = "direct"
    """How the gradient reaches the encoder. direct: the activations of all clips that learn are kept; replay: those of
    one chunk at a time, which is encoded twice. Both give the same gradient."""
    kept_chunks: Annotated[NonNegativeInt, Shapes("nothing")] = 0
    """route=replay: chunks that learn whose activations are kept from the first time that they are encoded, beside the
    detector's; only further ones are encoded twice. More memory and less time for the same gradient."""
    chunk: Annotated[PositiveInt, Shapes("nothing")] = 4
    """Clips of one encoder call. It changes memory, speed and the draws of stochastic depth, not the gradient."""
    checkpoint_blocks: Annotated[bool, Shapes("nothing")] = False
    """Keep only the inputs of the encoder's blocks, and compute the rest again in the backward pass."""
    steps_per_clip: Annotated[PositiveInt | None, Shapes("detections")] = None
    """Interpolate the vectors of all clips of a window together to this many steps for each clip (AdaTAD); null: a step
    for each vector."""
    clip_origin: Annotated[Literal["video", "window", "step", "random"], Shapes("weights")] = "video"
    """Where the clips of a window begin. video: where those of the whole video do; window: with the window, which in
    training begins at any frame; step: with the window, which begins at a step of the video (AdaTAD); random: in
    training up to a clip before the window, else with it."""
    encode_padding: Annotated[bool, Shapes("detections")] = False
    """Encode windows shorter than max_steps up to that length, for detectors that look at what is after the end."""
    outside: Annotated[Outside, Shapes("features")] = "repeat"
    """Frames of a clip outside the video: its first or last frame again, zero after the encoder's scaling, or black.
    repeat_window: the last frame of the window again, in place of all later ones (AdaTAD)."""
    held_megabytes: Annotated[PositiveInt, Shapes("nothing")] = 256
    """Frames of a window are loaded ahead and kept up to this size; those of a longer one are read chunk by chunk, and
    again for a replay."""
    memory_gb: Annotated[PositiveFloat | None, Shapes("nothing")] = None
    """Memory for a training step, in 2^30 bytes of tensors as `train --dry-run` counts them: before the first step,
    kept_chunks is raised as far as it fits, or checkpoint_blocks turned on and then chunk lowered as far as needed,
    unless they are set. null: as set."""

    @property
    def bank_store(self) -> Path | None:
        """The feature store that the bank of a run starts from; None where there is no bank."""
        return self.bank if self.others == "bank" else None

    @classmethod
    def expanded(cls, block: dict[str, Any]) -> dict[str, Any]:  # Any: not yet checked
        """Writes the preset's settings out."""
        return presets.expanded(block)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        combinations.check(dict(self), defaults, self.encoder)
        return self

    def live_encoder(
        self, device: torch.device, machine: MachineSettings, precision: str, weights: Mapping[str, Tensor] | None
    ) -> LiveEncoder:
        """The encoder with its reader of clips; raises UserError if it cannot be trained on these clips."""
        from actloc.encoders.base_network import built
        from actloc.end_to_end.live_encoder import LiveEncoder, prepare

        encoder = built(self.encoder) if weights is None else self.encoder.network_for(weights)
        if weights is not None:
            encoder.load_state_dict(dict(weights))
        are_spread = self.resize_by == "clips"
        prepare(encoder, self.spacing, device, recomputes=self.checkpoint_blocks, are_spread=are_spread)
        reader = ClipReader(
            max(machine.num_workers, 1),
            fps=self.fps,
            decode_fps=self.decode_fps,
            steps=self.encoder.frame_steps(),
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
        )
        return LiveEncoder(
            encoder,
            reader,
            precision=precision,
            route=self.route,
            chunk=self.chunk,
            outside=self.outside,
            kept_chunks=self.kept_chunks,
        )

    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> EncodedSource:
        """The subset's videos; lists the times of each, and raises UserError if some cannot be read."""
        from actloc.sources.encoded.source import EncodedSource

        assert live is not None, "an encoded source needs its encoder"
        listed = annotations.of_subset(subset)
        source = EncodedSource(self, annotations, live)
        with console.progress("listing pictures", len(listed)) as bar:
            for video in listed:
                try:
                    source.add(video)
                except VideoError as error:
                    source.missing.append(video)
                    console.warn(f"{video.id}: {error}", id=video.id)
                bar(1)
        source.require(annotations, subset)
        return source

    def of_file(self, file: Path, live: LiveEncoder) -> EncodedSource:
        """The source of one video without annotations; raises VideoError."""
        from actloc.sources.encoded.source import EncodedSource

        source = EncodedSource(self, Annotations((), {}), live)
        source.add(AnnotatedVideo(file.stem, "", file=file))
        return source

    @classmethod
    def small(cls, folder: Path, annotations: Annotations) -> Self:
        """Videos FOLDER/ID.mp4 of changing colours, and the encoder of colours, for clips of 4 frames, 8 a second."""
        generator = np.random.default_rng(0)
        for video in annotations.videos.values():
            with av.open(str(folder / f"{video.id}.mp4"), "w") as container:
                stream = container.add_stream("mpeg4", rate=8)
                stream.width, stream.height = 32, 32
                for colour in generator.integers(0, 256, (round(8 * (video.duration_s or 0.0)), 3), dtype=np.uint8):
                    picture = av.VideoFrame.from_ndarray(np.tile(colour, (32, 32, 1)), format="rgb24")
                    container.mux(stream.encode(picture))
                container.mux(stream.encode(None))
        settings = {"fps": 8.0, "clip_frames": 4, "stride_frames": 4, "max_steps": 16}
        return cls.model_validate({"encoder": {"name": "color", "short_side": 32}, **settings})

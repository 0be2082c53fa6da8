"""Features made from the videos in every step, by an encoder that may learn with the detector (end-to-end training)."""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import av
import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.encoders.base_network import built, vectors_per_clip
from actloc.end_to_end import combinations, presets
from actloc.end_to_end.augmented import AugmentedConfig
from actloc.end_to_end.choosing import LearningClips, Turns
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder, prepare
from actloc.end_to_end.video_rows import spread_frame_rows, spread_rows, strided_rows
from actloc.errors import UserError, VideoError
from actloc.ops.windows import window_at_any_frame
from actloc.settings.choices import ClipChoice, Outside, Route
from actloc.settings.sections import MachineSettings, Shapes
from actloc.sources.base import SourceConfig
from actloc.sources.base_source import Source
from actloc.store.grid_check import fits, warn_of_misfits
from actloc.structures import FIRST_VISIT, Batch, Extent, Sample, Visit
from actloc.video.clip_reader import ClipReader, VideoTimes
from actloc.video.left_out import LeftOutVideos


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
    so are all where the whole window is replayed."""
    memory_gb: Annotated[PositiveFloat | None, Shapes("nothing")] = None
    """Memory for a training step, in 2^30 bytes of tensors as `train --dry-run` counts them: before the first step,
    checkpoint_blocks is turned on and then chunk lowered as far as needed, unless they are set. null: as set."""

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
            encoder, reader, precision=precision, route=self.route, chunk=self.chunk, outside=self.outside
        )

    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> "EncodedSource":
        """The subset's videos; lists the times of each, and raises UserError if some cannot be read."""
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

    def of_file(self, file: Path, live: LiveEncoder) -> "EncodedSource":
        """The source of one video without annotations; raises VideoError."""
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


class EncodedSource(Source):
    """Videos of one subset whose features are made when they are needed."""

    config: Config
    live: LiveEncoder

    def __init__(self, config: Config, annotations: Annotations, live: LiveEncoder) -> None:
        super().__init__(config, annotations)
        self.live = live
        self.in_channels = live.encoder.channels
        self.encoder_weights_sha256 = live.encoder.weights_sha256
        self.videos, self.missing = [], []
        self._steps_per_clip = config.steps_per_clip or vectors_per_clip(live.encoder, config.spacing)
        self._filled_rows = config.max_steps if config.encode_padding else None
        self._times: dict[str, VideoTimes] = {}
        self._left_out = LeftOutVideos("features.allow_missing", is_allowed=config.allow_missing)
        self._readable: set[int] = set()
        self._turns = Turns()
        self._learning = LearningClips(config.fraction, config.choice, config.round_to, config.shared_draw)

    def add(self, video: AnnotatedVideo) -> None:
        """Lists the times of the video's pictures; raises VideoError if it cannot be used."""
        if video.file is None:
            raise VideoError("not_a_file", "the annotations name no file", "a video", "none")
        times = self.live.reader.times(video.file)
        if not self.config.spacing.num_clips(times.num_frames):
            expected, found = f"{self.config.clip_frames} frames", f"{times.num_frames} frames"
            raise VideoError("too_short", "the video is shorter than one clip", expected, found)
        if self.live.encoder.video_term(video.id, video.file) is not None:
            raise UserError(
                f"The encoder {self.config.encoder.name} adds a feature of the whole video to those of its clips.",
                "Expected settings with which a clip's features depend on the clip alone.",
                "Set features.encoder.output=features, or extract the features first: features.name=stored",
            )
        self._times[video.id] = times
        self.videos.append(replace(video, duration_s=video.duration_s or times.duration_s))

    def require(self, annotations: Annotations, subset: str) -> None:
        """Raises UserError if videos of the subset are missing, or not as long as annotated, and the settings mind."""
        fix = "Replace the files that the warnings name"
        if any(video.file is None for video in self.missing):
            fix = "Prepare again with the folder of the videos: actloc prepare CONFIG dataset.videos=FOLDER --overwrite"
        self._require_features(annotations, subset, fix, has="Clips can be read of")
        config, wrong = self.config, []
        for video in self.videos:
            times = self._times[video.id]
            rows = config.spacing.num_rows(times.num_frames, self._steps_per_clip)
            annotated_s, per_clip = video.duration_s or times.duration_s, self._steps_per_clip
            if not fits(config.spacing, annotated_s, times.fps, rows, config.tolerance_steps, per_clip):
                wrong.append(f"{video.id} lasts {times.duration_s:.2f} s, annotated {annotated_s:.2f} s")
        if not wrong:
            return
        listed = "\n  ".join(wrong[:3])
        found = f"{len(wrong)} of {console.count(len(self.videos), 'video')} do not fit their annotations:\n  {listed}"
        if not (config.allow_misfits and warn_of_misfits(len(wrong), len(self.videos), found)):
            raise UserError(
                found,
                f"Expected annotated durations that agree with the files, within {config.tolerance_steps:g} steps.",
                "Use the videos that were annotated; or, to continue if only a few differ: features.allow_misfits=true",
            )

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video, not read yet."""
        video, config = self.videos[index], self.config
        assert video.file is not None, "it was looked at"
        times, count = self._times[video.id], config.resize_to
        if count is not None and config.resize_by == "clips":
            rows = spread_rows(config.spacing, times, count)
        elif count is not None and config.resize_by == "frames":
            rows = spread_frame_rows(config.spacing, times, count, self._steps_per_clip)
        else:
            rows = strided_rows(config.spacing, times, self._steps_per_clip, count)
        window = ClipWindow(
            video.file,
            times.num_frames,
            rows.layout,
            self.in_channels,
            first_row=0,
            num_rows=rows.num_rows,
            steps=config.encoder.frame_steps(),
            frame_shape=times.frame_shape,
            dtype=times.dtype,
            resize_to=rows.interpolated_to,
        )
        return self._sample(video, window, rows.grid)

    def extent(self, index: int) -> Extent:
        """From the times of the video's pictures."""
        grid = self.evaluation_sample(index).grid
        return Extent(self._times[self.videos[index].id].duration_s, grid.stride_frames / grid.fps)

    def evaluation_samples(self, index: int) -> list[Sample]:
        """All of video `index`, in one window or in several that overlap, each with its own clips."""
        return [self._with_own_clips(one) for one in super().evaluation_samples(index)]

    def longest_sample(self, index: int) -> Sample:
        """The longest training window of video `index`, with as many clips as it can have."""
        before = self.config.clip_frames - 1 if self.config.clip_origin == "random" else 0
        return self._with_own_clips(super().longest_sample(index), before)

    def _with_own_clips(self, sample: Sample, frames_before: int = 0) -> Sample:
        """The sample with clips from its first frame on, or from some frames before, where `clip_origin` asks that."""
        config, window = self.config, sample.payload
        assert isinstance(window, ClipWindow)
        if config.clip_origin == "video":
            return replace(sample, payload=self._ended(window.filled(config.spacing, self._filled_rows)))
        first_frame = window.layout.first_frames[0] + window.first_row * config.stride_frames // self._steps_per_clip
        own = window.from_frame(config.spacing, first_frame, frames_before, window.num_rows, self._filled_rows)
        return replace(sample, payload=self._ended(own))

    def _ended(self, window: ClipWindow) -> ClipWindow:
        """The window without the frames after its last step, where the settings ask for that."""
        return window.ended(self.config.stride_frames) if self.config.outside == "repeat_window" else window

    def training_sample(self, index: int, generator: random.Random, visit: Visit = FIRST_VISIT) -> Sample:
        """A training window, with the clips that learn; its frames are in memory if they fit and are not replayed.

        A video that cannot be decoded is replaced by the next one, if the settings allow missing videos.
        """
        state = generator.getstate()

        def drawn(number: int) -> Sample:
            generator.setstate(state)  # whether or not those before are known to be left out
            return self._drawn(number, generator, visit)

        number, sample = self._left_out.first_readable(index, self.videos, drawn)
        return replace(sample, is_replacement=number != index)

    def leave_out(self, video: AnnotatedVideo, error: VideoError) -> None:
        """Names a video that cannot be decoded, once; raises UserError unless the settings allow missing videos."""
        self._left_out.add(video, error)

    def num_learning(self, num_clips: int) -> int:
        """How many of a window's clips the encoder learns from."""
        return self._learning.number(num_clips) if self.live.learns else 0

    def _drawn(self, index: int, generator: random.Random, visit: Visit) -> Sample:
        config = self.config
        is_asked = config.choice == "oldest"
        turns = self._turns.before(index, visit.epoch, partial(self._learned_in, index, visit)) if is_asked else {}
        sample, window = self._window(index, generator, visit, turns)
        is_replayed_whole = config.route == "replay" and len(window.learning) == len(window.clips)
        if not is_replayed_whole and window.num_bytes <= config.held_megabytes << 20:
            window = window.loaded(self.live.reader)
        elif config.allow_missing and index not in self._readable:  # in the middle of a step nothing can be replaced
            self._read_once(index)
        return replace(sample, payload=window)

    def _read_once(self, index: int) -> None:
        """Reads all clips of a video, a chunk at a time, and keeps none; raises VideoError."""
        window = self.evaluation_sample(index).payload
        assert isinstance(window, ClipWindow)
        for start in range(0, len(window.encoded), self.live.chunk):
            window.frames(self.live.reader, window.encoded[start : start + self.live.chunk])
        self._readable.add(index)

    def _learned_in(self, index: int, visit: Visit, epoch: int, turns: dict[int, int]) -> frozenset[int]:
        """The clips that learned in an earlier epoch."""
        before = replace(visit, epoch=epoch)
        return self._window(index, before.generator(index), before, turns)[1].learning

    def _window(
        self, index: int, generator: random.Random, visit: Visit, turns: dict[int, int]
    ) -> tuple[Sample, ClipWindow]:
        """A training sample, and its window with all that is drawn for it: transforms, and the clips that learn."""
        config, sample = self.config, self._cut(index, generator, visit)
        window = sample.payload
        assert isinstance(window, ClipWindow)
        steps = config.drawn(window.steps, generator)
        learning = self._learning.drawn(window.clips, generator, visit, turns) if self.live.learns else frozenset()
        return sample, replace(window, steps=steps, learning=learning, others_are_stored=config.others == "bank")

    def _cut(self, index: int, generator: random.Random, visit: Visit) -> Sample:
        """A training window with its clips, before anything else is drawn for it."""
        config = self.config
        if config.clip_origin != "window":
            before = generator.randrange(config.clip_frames) if config.clip_origin == "random" else 0
            return self._with_own_clips(super().training_sample(index, generator, visit), before)
        whole = self.evaluation_sample(index)
        window, clips_past_end = whole.payload, config.past_end == "clip"
        assert isinstance(window, ClipWindow)
        frames_after, num_rows, targets = window_at_any_frame(
            whole, window.num_frames, generator, clips_past_end=clips_past_end, rules=config.window_rules
        )
        first_frame = window.layout.first_frames[0] + frames_after
        payload = window.from_frame(config.spacing, first_frame, 0, num_rows, self._filled_rows)
        return replace(whole, payload=self._ended(payload), targets=targets)

    def features(self, batch: Batch, num_steps: int, device: torch.device) -> Tensor:
        """Features (B, C, num_steps) of the samples, made now; zero after the end of each."""
        windows = [sample.payload for sample in batch.samples if isinstance(sample.payload, ClipWindow)]
        assert len(windows) == len(batch.samples), "they are this source's samples"
        try:
            vectors = self.live.vectors(windows)
        except VideoError as error:
            if not any(window.learning for window in windows):
                raise  # detection goes on without the video
            raise UserError(
                f"{', '.join(batch.video_ids)}: {error}.",
                "Expected videos that can be decoded; these are read chunk by chunk in the middle of a step.",
                "Replace the file, then run the same command again; windows that are loaded ahead, as those of "
                "features.preset=etad up to features.held_megabytes, can leave such videos out.",
            ) from error
        if self.bank is not None:
            together = zip(batch.video_ids, windows, vectors, strict=True)
            vectors = [self.bank.completed(*one) if one[1].others_are_stored else one[2] for one in together]
        rows = [window.rows(own) for window, own in zip(windows, vectors, strict=True)]
        return torch.stack([functional.pad(one, (0, num_steps - one.shape[1])) for one in rows]).to(device)

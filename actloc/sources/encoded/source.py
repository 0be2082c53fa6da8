"""Samples whose features the encoder makes when they are asked for."""

import random
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.encoders.base_network import vectors_per_clip
from actloc.end_to_end.choosing import LearningClips, Turns
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.end_to_end.video_rows import spread_frame_rows, spread_rows, strided_rows
from actloc.errors import UserError, VideoError
from actloc.ops.windows import window_at_any_frame
from actloc.sources.base_source import Source
from actloc.sources.encoded import Config
from actloc.store.grid_check import fits, warn_of_misfits
from actloc.structures import FIRST_VISIT, Batch, Extent, Sample, Visit
from actloc.video.clip_reader import VideoTimes
from actloc.video.left_out import LeftOutVideos


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
        self.config.refuse_missing(self.videos, self.missing, annotations, subset, fix, has="Clips can be read of")
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
        """A training window, with the clips that learn; its frames are in memory if they fit.

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
        if window.num_bytes <= config.held_megabytes << 20:
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
                "Replace the file, then run the same command again; windows up to features.held_megabytes, which are "
                "loaded ahead, can leave such videos out: features.allow_missing=true",
            ) from error
        if self.bank is not None:
            together = zip(batch.video_ids, windows, vectors, strict=True)
            vectors = [self.bank.completed(*one) if one[1].others_are_stored else one[2] for one in together]
        rows = [window.rows(own) for window, own in zip(windows, vectors, strict=True)]
        return torch.stack([functional.pad(one, (0, num_steps - one.shape[1])) for one in rows]).to(device)

"""Actions in a source that is read as it comes: each is printed and written once nothing can change it."""

from pathlib import Path

import numpy as np

from actloc import console, files
from actloc.encoders.base_network import vectors_per_clip
from actloc.errors import Stopped, UserError, VideoError
from actloc.evaluation import fusion
from actloc.experiment import Experiment
from actloc.extraction.batches import batch_size
from actloc.extraction.streamed import encode_stream
from actloc.localization.predicting import distinct_digits, rounded_down
from actloc.ops.settling import Candidates
from actloc.runs.longest_action import longest_allowed, too_long
from actloc.runs.predictor import Predictor
from actloc.runs.watching import WatchingDetector
from actloc.settings.choices import Dtype
from actloc.signals import StopFlag
from actloc.store.info import FeatureInfo, Features, row_grid
from actloc.structures import Grid
from actloc.video.live import LiveSource


class Watching:
    """A trained run on one source; a sink of its features."""

    dtype: Dtype = "float32"

    def __init__(
        self, experiment: Experiment, file: Path, longest_action_s: float | None, every_s: float | None
    ) -> None:
        _refuse(experiment)
        longest_s = longest_action_s or longest_allowed(experiment)
        if longest_s is None:
            raise UserError(
                f"{experiment.run_folder} does not say how long the actions are that it was trained on.",
                "Expected its annotations, or the longest action that may be found.",
                "Add --longest-action SECONDS",
            )
        self._experiment, self._file = experiment, file
        self._predictor = Predictor(experiment)
        encoder, spacing = self._predictor.encoder, experiment.features.spacing
        assert encoder is not None, "runs with an encoder of their own were refused"
        assert spacing.fps != "native", "refused"
        self._encoder, self._spacing = encoder, spacing
        offset, vectors = spacing.offset_frames, vectors_per_clip(encoder, spacing)
        self._grid: Grid = row_grid(spacing.fps, spacing.clip_frames, spacing.stride_frames, offset, vectors)
        self._step_s = self._grid.stride_frames / self._grid.fps
        self._classes = self._predictor.trained.classes
        thresholds = self._predictor.thresholds
        self._detector = WatchingDetector(
            self._predictor.trained.localizer,
            np.array([thresholds[name] for name in self._classes]),
            longest_s / self._step_s,
            None if every_s is None else max(int(every_s / self._step_s), 1),
            limits_all=longest_action_s is not None or experiment.prediction.longest_action_s is not None,
        )
        self.longest_s, self.num_found = longest_s, 0
        self._end_s, self._stop = float("inf"), StopFlag(is_saved=False)

    def run(self, source: Path | LiveSource) -> int:
        """The exit status, after the end of the source; raises VideoError, and Stopped after what was left is settled.

        What is not settled when a signal arrives is settled as if the source had ended.
        """
        self._say_delay()
        files.make_folder(self._file.parent)
        files.write_text(self._file, "")
        machine = self._experiment.machine
        with self._stop:
            try:
                stop = self._stop.raise_if_set
                summary = encode_stream(source, self._encoder, self._spacing, machine, self, self._say, stop)
                self._end_s = summary.duration_s
            except Stopped:
                self._finish()
                raise
            except VideoError as error:
                if isinstance(source, Path):
                    error.detail = f"{source}: {error.detail}"
                if self._detector.num_steps:
                    self._finish()
                raise
            self._finish()
        return 0

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C)."""
        self._stop.raise_if_set()
        self._detector.add(rows, self._settled)

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """The metadata, of which nothing is kept."""
        return info

    def discard(self) -> None:
        """Nothing is kept."""

    def _finish(self) -> None:
        self._detector.end(self._settled)
        detector = self._detector
        if detector.num_too_long:
            console.warn(
                f"{too_long(detector.num_too_long, self.longest_s)}. Allow them, for a longer delay: "
                "--longest-action SECONDS",
                candidates=detector.num_too_long,
            )
        best = detector.best_below
        if best is not None and not self.num_found:
            score, name = best[0], self._classes[best[1]]
            compared = " < ".join(distinct_digits(score, self._predictor.thresholds[name]))
            console.say(
                f"Nothing reached its score threshold; the best was {console.clean(name)} ({compared}): "
                f"--set prediction.threshold={rounded_down(score):g} shows it"
            )
        for setting in sorted(detector.cut_by):
            console.warn(f"{setting} left out candidates of lower scores in some windows")
        console.say(f"Wrote {console.count(self.num_found, 'segment')} to {self._file}")

    def _say(self, line: str) -> None:
        console.warn(line)

    def _say_delay(self) -> None:
        delays, spacing, encoder = self._detector.delays, self._spacing, self._encoder
        frames = batch_size(encoder, spacing, self._experiment.machine, encoder.device.type)
        frames *= 1 if encoder.is_framewise else spacing.stride_frames
        batch_s = (frames + spacing.clip_frames) / self._grid.fps
        parts = [delays.window * self._step_s, delays.margin * self._step_s, self.longest_s, batch_s]
        listed = [console.duration(one) for one in parts]
        console.say(
            f"Segments are printed at most {console.duration(sum(parts))} after their end, or later if a better one "
            f"that overlaps them ends later: {listed[0]} for a window, {listed[1]} for what the network sees after it, "
            f"{listed[2]} for the longest action, and {listed[3]} for a batch of the encoder (shorter with --every, "
            "--longest-action and --set machine.clip_batch=1)"
        )
        console.emit("delay", window_s=parts[0], reach_s=parts[1], longest_action_s=parts[2], batch_s=parts[3])

    def _settled(self, found: Candidates) -> None:
        """Prints and writes segments, by their starts."""
        found = found.at(np.argsort(found.segments[:, 0], kind="stable"))
        seconds = (found.segments * self._grid.stride_frames + self._grid.offset_frames) / self._grid.fps
        for (start, end), score, label in zip(
            seconds.clip(0, self._end_s).tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        ):
            name = self._classes[label]
            row = {"start_s": round(start, 6), "end_s": round(end, 6), "label": name, "score": round(score, 6)}
            files.append_line(self._file, files.json_line(row))
            console.result(f"{start:10.2f} {end:10.2f}  {score:.3f}  {console.clean(name)}")
            console.emit("segment", **row)
            self.num_found += 1

    def close(self) -> None:
        """Ends the processes of the run."""
        self._predictor.close()


def _refuse(experiment: Experiment) -> None:
    """Raises UserError for features that depend on the whole video."""
    features = experiment.features
    reasons = {
        "features.name": features.trains_encoder and "the run has an encoder of its own, which chooses clips",
        "features.resize_to": features.resize_to is not None and "its steps are parts of the whole video",
        "features.downsample": features.downsample != 1 and "only the usual 1 is supported",
        "features.window_steps": features.window_steps is not None and "its windows are merged over the whole video",
        "fusion.scores": experiment.fusion.scores == fusion.OWN and "they are of the whole video",
    }
    for setting, reason in reasons.items():
        if reason:
            raise UserError(
                f"`watch` cannot use this run because of {setting}: {reason}.",
                "Expected features of clips at a constant distance, on which the detector sees the video as a whole.",
                "Use another run, or `predict` once the video is complete.",
            )

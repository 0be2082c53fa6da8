"""Applies a trained recognition run to new videos, with the run's own preparation, network and views."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actloc.annotations.model import AnnotatedVideo
from actloc.evaluation.columns import Floats
from actloc.experiment import Experiment
from actloc.extraction.converting import as_prepared
from actloc.extraction.video_progress import VideoProgress
from actloc.recognition.clips import ClipSource, LabelledClip
from actloc.recognition.networks import clip_source, load_trained, views_of
from actloc.recognition.scores import averaged, softmax
from actloc.video.base import Span
from actloc.video.clip_files import id_of


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """How probable it is that a video shows a class."""

    label: str
    score: float
    """From 0 to 1; those of all classes add up to 1."""


class RecognitionPredictor:
    """Names the classes of videos with a trained run; loads the network once."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.trained, self.views = load_trained(experiment), views_of(experiment)
        self._source = clip_source(experiment)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of `probabilities`."""
        return self.trained.classes

    def close(self) -> None:
        """Ends the processes that read clips; they also end with this process."""
        self._source.reader.close()

    def predict(
        self, video: Path, progress: VideoProgress | None = None, span: Span | None = None
    ) -> list[ClassProbability]:
        """Every class of the run with its probability in a video file or folder of frames, the best first.

        With `span` in this part of it. Raises VideoError if the video cannot be read.
        """
        row = self.probabilities(video, span)
        return [ClassProbability(self.classes[number], float(row[number])) for number in ranked(row)]

    def probabilities(self, video: Path, span: Span | None = None) -> Floats:
        """Those of each class (K,), for the video as a whole or for a part of it; raises VideoError."""
        reader = self._source.reader
        source = ClipSource(reader, self._source.sampling, self._source.steps)  # knows no times of other parts yet
        with as_prepared(video, self.experiment.preparation, takes_frames=True) as file, reader.limited_to(span):
            clip = LabelledClip(AnnotatedVideo(id_of(video), "", file=file), ())
            row = averaged(self.trained.scorer.logits(self.views.read(source, clip)), self.views.average)
        return softmax(row) if self.views.average == "logits" else row


def ranked(row: Floats) -> list[int]:
    """The numbers of the classes, the best first."""
    return [int(number) for number in np.argsort(-row, kind="stable")]

"""The interface between `predict` and a task: what a trained run makes of a video, and what is written of all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actloc.annotations.rows import WrittenVideo
from actloc.evaluation.results import Record
from actloc.extraction.video_progress import VideoProgress
from actloc.video.base import Span
from actloc.video.live import LiveSource


class FilePredictor(Protocol):
    """Applies a trained run to files of videos, for `actloc.load(RUN)`; its networks are loaded once."""

    def predict(self, video: Path, progress: VideoProgress, span: Span | None = None) -> list[Any]:  # Any: task's form
        """What the run predicts of a video, or of a part of it, the best score first; raises VideoError.

        Times are those of the whole video. Who works on the video tells `progress` how far it is, in this part.
        """

    def close(self) -> None:
        """Ends the processes that read videos, if there are some; they also end with this process."""


class WatchingSource(Protocol):
    """A trained run at work on a source that is read as it comes."""

    def run(self, source: Path | LiveSource) -> int:
        """Prints and writes what is found; the exit status, after the end of the source. Raises VideoError."""

    def close(self) -> None:
        """Ends the processes that read videos, if there are some; they also end with this process."""


@dataclass(frozen=True)
class MadeWith:
    """What results depend on; the output folder records it, so that results of two kinds are never mixed."""

    run: str
    checkpoint: str
    """Its name."""
    sha256: str
    """Of the weights that the settings choose."""
    settings: Mapping[str, Any]  # Any: JSON values
    """Everything else that shapes the result of a video, by dotted key."""
    shown: Mapping[str, Any]
    """What only decides which part of the results is written, by dotted key."""
    summaries: Sequence[str]
    """The names of the files that are made of all results; subtitles of single videos come on top."""


class Predicting(ABC):
    """A trained run at work on new videos."""

    form: type[Record]
    """The form of a video's result, in which it is stored."""
    made_with: MadeWith
    labels: Sequence[str] = ()
    """The classes of segments in the order of their colours, where the task finds segments."""

    @abstractmethod
    def predict(self, video: Path, progress: VideoProgress) -> Record:
        """The result of a video, of the class `form`; raises VideoError if it cannot be read."""

    @abstractmethod
    def event(self, result: Any) -> dict[str, Any]:  # Any: the result, and JSON values
        """The fields of a finished video's event, apart from its id."""

    @abstractmethod
    def write(self, output: Path, results: Mapping[str, Any]) -> None:
        """Writes the summaries of all results, by id, to the folder `output`: those that `predicted_files` names."""

    def annotated(self, video_id: str, name: str, result: Any) -> WrittenVideo:  # Any: the result
        """The actions found in a video whose file has this name, for annotation tools.

        Only asked of a task that has `finds_actions`.
        """
        raise NotImplementedError

    @abstractmethod
    def show(self, results: Mapping[str, Any]) -> None:
        """Prints results by id."""

    @abstractmethod
    def close(self) -> None:
        """Ends the processes that read videos, if there are some; they also end with this process."""

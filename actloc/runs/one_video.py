"""A new video as a source of features, for `predict`."""

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.sources.base import SourceConfig
from actloc.sources.base_source import Source
from actloc.structures import Grid, Payload, Sample


class OneVideo(Source):
    """One video without annotations, whose features are at hand."""

    def __init__(self, config: SourceConfig, video: AnnotatedVideo, features: Payload, grid: Grid) -> None:
        super().__init__(config, Annotations((), {video.id: video}))
        self.videos, self.missing = [video], []
        self.in_channels, self.encoder_weights_sha256 = features.shape[0], None
        self._whole = self._sample(video, features, grid)

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video."""
        return self._whole

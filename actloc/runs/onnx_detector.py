"""A detector whose network onnxruntime computes; what follows from its outputs is the detector's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from actloc.detectors.base_network import Detector, PointDetector
from actloc.errors import TooLongError
from actloc.runs.long_videos import Window, equal_windows, margin_of, padded_beyond
from actloc.runs.onnx_file import OnnxNetwork
from actloc.structures import Detections

FEATURES, MASK = "features", "mask"


class OnnxDetector(Detector):
    """`detector` with the network in an ONNX file, which knows one length."""

    def __init__(self, detector: Detector, network: OnnxNetwork) -> None:
        super().__init__()
        self.detector = detector
        self.network = network
        steps = network.record.inputs[FEATURES][2]
        assert steps is not None, "the file has one length"
        self.steps: int = steps
        self.criterion = detector.criterion

    def forward(self, features: Tensor, mask: Tensor) -> Any:  # Any: the detector's own
        """The detector's outputs for (1, C, T) features, T = `steps`; `mask` (1, T) is true on real steps."""
        return self.detector.outputs_of(self.network(**{FEATURES: features.float(), MASK: mask}), mask)

    def select(self, outputs: Any) -> list[Detections]:  # Any: as above
        """The detector's."""
        return self.detector.select(outputs)

    def padded_steps(self, longest: int) -> int:
        """`steps`; raises TooLongError for a video that the detector would pad to a length of other numbers."""
        own = self.detector.padded_steps(longest)
        if own == self.steps or (own < self.steps and self._may_be_padded(longest)):
            return self.steps
        raise TooLongError(
            f"A video has {longest} feature steps, which the detector pads to {own}.",
            f"Expected what fits the ONNX file: it knows one length, {self.steps} steps, and this detector does not "
            "see videos in windows of that length.",
            f"Write a file for this length: actloc export-onnx RUN FILE --steps {longest}; or use the run with torch.",
        )

    def _may_be_padded(self, longest: int) -> bool:
        """Whether a video of `longest` steps may have more padding: where the detector itself leaves some out."""
        detector = self.detector
        return isinstance(detector, PointDetector) and detector.padded_steps(longest) < detector.official_steps(longest)

    def windows(self, num_steps: int) -> list[Window] | None:
        """The windows of `steps` in which a longer video gives what the whole would give; None for one seen whole."""
        detector = self.detector
        if not isinstance(detector, PointDetector):
            return None
        margin, padded = margin_of(detector), padded_beyond(detector, num_steps)
        if margin is None or padded <= self.steps or self.steps <= 2 * margin:
            return None
        return equal_windows(padded, self.steps, margin)

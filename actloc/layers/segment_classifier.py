"""The class of a segment, from features pooled inside it: for detectors that find actions without their classes."""

import torch.nn.functional as F
from torch import Tensor, nn


class SegmentClassifier(nn.Module):
    """A convolution over time, then for each segment a perceptron on the bins that it is cut into.

    As for boxes in pictures: Girshick, 2015, "Fast R-CNN" (arXiv 1504.08083).
    """

    def __init__(self, in_channels: int, dim: int, num_bins: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.embedding = nn.Conv1d(in_channels, dim, 3, padding=1)
        self.hidden = nn.Linear(num_bins * dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(dim, num_classes)

    def embed(self, features: Tensor) -> Tensor:
        """(B, C, T) to the (B, dim, T) that segments are pooled from."""
        return F.relu(self.embedding(features))

    def forward(self, bins: Tensor) -> Tensor:
        """Logits (N, K) of segments whose bins are (N, bins, dim)."""
        logits: Tensor = self.output(self.dropout(F.relu(self.hidden(bins.flatten(1)))))
        return logits

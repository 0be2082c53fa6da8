"""The network of the encoder of colours."""

import torch
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder


class Color(ClipEncoder):
    """Six numbers per clip, between 0 and 1."""

    channels = 6
    is_framewise = True

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 6, 1) of clips (S, F, H, W, 3): means, then standard deviations, of R, G, B."""
        vectors = self.frame_vectors(clips.flatten(0, 1))
        return self.pool_frames(vectors.reshape(*clips.shape[:2], -1))

    def frame_vectors(self, frames: Tensor) -> Tensor:
        """Means of R, G, B and of their squares (N, 6), in float64: their difference below is small."""
        pixels = frames.flatten(1, 2).to(torch.float64) / 255  # (N, H*W, 3)
        return torch.cat([pixels.mean(1), pixels.square().mean(1)], dim=1)

    def pool_frames(self, vectors: Tensor) -> Tensor:
        """Features (S, 6, 1) of clips whose frames have the vectors (S, F, 6)."""
        mean, mean_square = vectors.mean(1).chunk(2, dim=1)
        deviation = (mean_square - mean.square()).clamp(min=0).sqrt()
        return torch.cat([mean, deviation], dim=1).to(self.dtype)[:, :, None]

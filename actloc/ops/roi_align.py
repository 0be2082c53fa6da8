"""ROI align (He et al., 2017, arXiv 1703.06870) along time: features of segments, cut into equal bins.

It follows the CPU and CUDA kernels of torchvision, which leave samples beyond the borders out; torchvision's Python
version moves them to the border instead.
"""

import torch
from torch import Tensor

BEYOND = 1.0  # a sample further than this before the first or after the last position counts as zero
FARTHEST = 1e6  # positions beyond this are taken as this; a sample there is zero in any case


@torch.no_grad()
def roi_weights(segments: Tensor, num_bins: int, num_steps: int, *, aligned: bool) -> Tensor:
    """Interpolation weights (..., bins, T) of segments (..., 2), whose ends are positions 0 to T.

    Each bin is the mean of as many samples as it is positions long, rounded up. Position t is that of feature t, or
    with `aligned` that of feature t - 0.5; without it a segment is at least one position long, as in the first kernels.
    """
    starts, ends = segments.nan_to_num().clamp(-FARTHEST, FARTHEST).flatten(0, -2).unbind(dim=-1)  # (N,)
    lengths = ends - starts
    if aligned:
        starts = starts - 0.5
    else:
        lengths = lengths.clamp(min=1)
    bin_lengths = lengths / num_bins
    num_samples = bin_lengths.ceil().clamp(min=1)
    spacing = bin_lengths / num_samples
    most = torch.minimum(num_samples, (num_steps + 2 * BEYOND) / spacing.abs().clamp(min=0.1) + 2).long()
    # segments of the most samples first, so that those that have a further sample are the first ones
    order = most.argsort(descending=True)
    starts, bin_lengths, num_samples, spacing, most = (
        values[order, None] for values in (starts, bin_lengths, num_samples, spacing, most)
    )
    bins = torch.arange(num_bins, device=starts.device)
    bin_starts = starts + bins * bin_lengths  # (N, bins)
    # samples are left out until the first that is near enough, so that segments of any length take a bounded time
    skipped = ((-BEYOND - bin_starts) / spacing.clamp(min=0.1)).floor().clamp(min=0)
    skipped = torch.where(spacing > 0, skipped, 0)
    weights = starts.new_zeros(len(starts) * num_bins * num_steps)
    first_step = (order[:, None] * num_bins + bins) * num_steps  # where the weights of a bin begin
    largest = int(most[0]) if len(most) else 0
    counts = (most > torch.arange(largest, device=most.device)).sum(dim=0).tolist()
    for sample, count in enumerate(counts):
        number = skipped[:count] + sample
        places = bin_starts[:count] + (number + 0.5) * spacing[:count]
        is_used = (number < num_samples[:count]) & (places >= -BEYOND) & (places <= num_steps - 1 + BEYOND)
        share = is_used / num_samples[:count]
        places = places.clamp(0, num_steps - 1)
        lower = places.floor()
        upper_part = places - lower
        index = lower.long()
        for step, part in ((index, 1 - upper_part), ((index + 1).clamp(max=num_steps - 1), upper_part)):
            weights.scatter_add_(0, (first_step[:count] + step).flatten(), (share * part).flatten())
    return weights.view(*segments.shape[:-1], num_bins, num_steps)


def roi_align(features: Tensor, segments: Tensor, num_bins: int, *, aligned: bool = False) -> Tensor:
    """(B, N, bins, C) features of segments (B, N, 2) in features (B, C, T); only features get a gradient."""
    weights = roi_weights(segments, num_bins, features.shape[2], aligned=aligned).to(features.dtype)
    product = weights.flatten(1, 2) @ features.transpose(1, 2)  # (B, N * bins, C)
    return product.view(*segments.shape[:2], num_bins, features.shape[1])


def resize_by_roi_align(features: Tensor, num_steps: int) -> Tensor:
    """Features (C, T) as the (C, num_steps) bins of the whole sequence, rounded to float16 before as ETAD does.

    The mean is computed in float64; the result has the type of `features`.
    """
    whole = torch.tensor([[[0.0, features.shape[1]]]], dtype=torch.float64, device=features.device)
    bins = roi_align(features.half().double()[None], whole, num_steps, aligned=True)
    return bins[0, 0].T.to(features.dtype).contiguous()

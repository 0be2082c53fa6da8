import math

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.ops.roi_align import resize_by_roi_align, roi_align
from tests.golden.cases import GOLDEN


def by_definition(features: Tensor, start: float, end: float, num_bins: int, aligned: bool) -> Tensor:
    """(bins, C), sample by sample."""
    num_steps = features.shape[1]
    length = end - start if aligned else max(end - start, 1.0)
    start = start - 0.5 if aligned else start
    size = length / num_bins
    samples = max(math.ceil(size), 1)
    bins = []
    for number in range(num_bins):
        total = features.new_zeros(len(features))
        for sample in range(samples):
            place = start + number * size + (sample + 0.5) * size / samples
            if -1 <= place <= num_steps:
                place = min(max(place, 0.0), num_steps - 1.0)
                low = math.floor(place)
                high = min(low + 1, num_steps - 1)
                total = total + (1 - (place - low)) * features[:, low] + (place - low) * features[:, high]
        bins.append(total / samples)
    return torch.stack(bins)


@pytest.mark.parametrize("num_bins", [8, 16, 24])
@pytest.mark.parametrize("aligned", [False, True])
def test_features_of_segments_are_the_official_ones(num_bins: int, aligned: bool) -> None:
    with np.load(GOLDEN / "etad" / "roi_align.npz") as arrays:
        features = torch.from_numpy(arrays["feature"])
        for (video, *segment), expected in zip(
            arrays["boxes"], arrays[f"out_{num_bins}_{'aligned' if aligned else 'legacy'}"], strict=True
        ):
            found = roi_align(features[int(video)][None], torch.tensor([[segment]]), num_bins, aligned=aligned)
            np.testing.assert_allclose(found[0, 0].T, expected, atol=1e-6 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("aligned", [False, True])
def test_segments_of_any_kind_and_the_gradient_are_those_of_the_definition(aligned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for num_steps in (1, 2, 7, 32):
        features = torch.randn(2, 3, num_steps, generator=generator, dtype=torch.float64, requires_grad=True)
        # some reversed, some outside, some many times as long as the sequence
        segments = (torch.rand(2, 30, 2, generator=generator, dtype=torch.float64) * 3 - 1) * num_steps
        segments[:, :3] *= 40
        found = roi_align(features, segments, 5, aligned=aligned)
        expected = torch.stack(
            [
                torch.stack([by_definition(video, start, end, 5, aligned) for start, end in rows.tolist()])
                for video, rows in zip(features, segments, strict=True)
            ]
        )
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        cotangent = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        ours, theirs = (torch.autograd.grad(one, features, cotangent)[0] for one in (found, expected))
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_segments_that_are_no_numbers_give_finite_features() -> None:
    segments = torch.tensor([[[-math.inf, math.inf], [math.nan, 3.0], [2.0, math.inf]]])
    assert roi_align(torch.ones(1, 2, 8), segments, 4).isfinite().all()


def test_resized_features_are_the_official_ones() -> None:
    with np.load(GOLDEN / "etad" / "feature_resize.npz") as arrays:
        features = torch.from_numpy(arrays["feature"])
        found = resize_by_roi_align(features, 128)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, arrays["out"], atol=1e-6 * np.abs(arrays["out"]).max(), rtol=0)


def test_no_segments_have_no_features() -> None:
    assert roi_align(torch.ones(1, 2, 8), torch.zeros(1, 0, 2), 4).shape == (1, 0, 4, 2)

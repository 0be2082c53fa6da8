import numpy as np
import torch
from torch import Tensor

from actloc.ops.boundary_pooling import boundary_pool, boundary_windows
from tests.golden.cases import GOLDEN


def by_definition(features: Tensor, windows: Tensor) -> Tensor:
    """Window by window; the gradient is that of `max`, at the first of equal maxima."""
    num_steps, half = features.shape[2], features.shape[1] // 2
    pooled = []
    for video, listed in zip(features, windows.tolist(), strict=True):
        for first, last, other_first, other_last in listed:
            for channels, (left, right) in (
                (video[:half], (first, last)),
                (video[half:], (other_first, other_last)),
            ):
                start, end = (min(max(int(bound), 0), num_steps - 1) for bound in (left, right))
                part = channels[:, start : max(end, start) + 1]
                best = (part == part.amax(dim=1, keepdim=True)).int().argmax(dim=1)
                pooled.append(part.gather(1, best[:, None])[:, 0])
    return torch.stack(pooled).reshape(len(features), windows.shape[1], -1).transpose(1, 2)


def test_pooled_features_are_the_official_ones() -> None:
    with np.load(GOLDEN / "tallformer" / "boundary_pool.npz") as arrays:
        found = boundary_pool(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["segments"]))
        np.testing.assert_array_equal(found, arrays["out"])


def test_windows_of_any_kind_give_the_maxima_and_their_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    for num_steps in (1, 2, 7, 32):
        # whole numbers, so that many maxima are equal
        values = torch.randint(0, 4, (2, 6, num_steps), generator=generator).double()
        windows = (torch.rand(2, 40, 4, generator=generator) * 2 - 0.5) * num_steps  # some reversed, some outside
        windows.requires_grad_()
        results = []
        for pool in (boundary_pool, by_definition):
            features = values.clone().requires_grad_()
            pooled = pool(features, windows)
            (pooled * torch.arange(pooled.numel()).reshape(pooled.shape)).sum().backward()
            results.append((pooled.detach(), features.grad))
        for ours, expected in zip(*results, strict=True):
            assert torch.equal(ours, expected)
        assert windows.grad is None


def test_windows_reach_a_quarter_inwards_and_a_tenth_outwards_and_round_half_to_even() -> None:
    found = boundary_windows(torch.tensor([10.0, 10.5]), torch.tensor([50.0, 12.5]), torch.tensor([40.0, 2.0]))
    # of the short one both reaches are one position: 9.5, 11.5, 11.5, 13.5
    assert found.tolist() == [[6, 20, 40, 54], [10, 12, 12, 14]]

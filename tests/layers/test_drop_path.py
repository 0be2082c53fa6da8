import torch

from actloc.layers.drop_path import AffineDropPath


def test_a_video_keeps_its_whole_branch_or_loses_it() -> None:
    torch.manual_seed(0)
    layer = AffineDropPath(3, 0.25)
    torch.nn.init.ones_(layer.scale)
    factors = layer(torch.ones(1000, 3, 5)).flatten(1)
    assert (factors == factors[:, :1]).all()
    kept = factors[:, 0] != 0
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 1 / 0.75))
    assert abs(kept.float().mean() - 0.75) < 0.05


def test_evaluation_only_scales() -> None:
    layer = AffineDropPath(3, 0.25).eval()
    torch.testing.assert_close(layer(torch.ones(2, 3, 5)), torch.full((2, 3, 5), 1e-4))

import torch

from actloc.layers.drop_path import AffineDropPath, DropPath


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


def test_the_chance_of_keeping_a_branch_is_not_rounded_with_its_values() -> None:
    layer = AffineDropPath(3, 0.1)
    torch.nn.init.ones_(layer.scale)
    torch.manual_seed(0)
    exact = layer(torch.ones(5000, 3, 1)) != 0
    torch.manual_seed(0)
    rounded = layer(torch.ones(5000, 3, 1, dtype=torch.bfloat16)) != 0
    assert torch.equal(exact, rounded)


def test_a_plain_branch_is_kept_whole_and_enlarged_or_dropped_and_unchanged_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25)
    factors = layer(torch.ones(1000, 2, 3, 5)).flatten(1)
    assert (factors == factors[:, :1]).all()
    kept = factors[:, 0] != 0
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 1 / 0.75))
    assert abs(kept.float().mean() - 0.75) < 0.05
    branch = torch.randn(4, 3)
    assert layer.eval()(branch) is branch

import math

import pytest
import torch
from torch import Tensor

from actloc.layers.attention import ConvAttention, TransformerBlock, global_attention, local_attention
from actloc.layers.drop_path import computing_all_branches


def drawn_heads(length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, length, 2, 8, generator=generator) for _ in range(3))


def masks(length: int, real: int) -> Tensor:
    return torch.arange(length) < torch.tensor([[length], [real]])


def dense_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, reach: int, relative: Tensor | None = None
) -> Tensor:
    """The definition in float64: a softmax over the real keys at most `reach` away."""
    queries, keys, values = (tensor.double().transpose(1, 2) for tensor in (queries, keys, values))
    steps = torch.arange(mask.shape[1])
    seen = ((steps[:, None] - steps).abs() <= reach) & mask[:, None, None, :]
    scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
    if relative is not None:
        distances = (steps - steps[:, None] + reach).clamp(0, 2 * reach)
        scores = scores + relative.double()[:, distances]
    scores = scores.masked_fill(~seen, -1e30)
    return (scores.softmax(dim=3) @ values).transpose(1, 2)


@pytest.mark.parametrize("reach", [1, 2, 9, 16, 17, 40])
@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 64, 100])
def test_local_attention_is_a_softmax_within_a_band(length: int, reach: int) -> None:
    heads, mask = drawn_heads(length), masks(length, max(1, length // 3))
    result = local_attention(*heads, mask, reach)
    torch.testing.assert_close(result[mask].double(), dense_attention(*heads, mask, reach)[mask], atol=2e-6, rtol=0)
    assert result.isfinite().all()


@pytest.mark.parametrize("reach", [1, 2, 9, 17])
@pytest.mark.parametrize("length", [1, 5, 33, 70])
def test_the_bias_of_each_distance_is_added_to_the_scores_and_gets_its_gradient(length: int, reach: int) -> None:
    heads, mask = drawn_heads(length), masks(length, max(1, length // 3))
    relative = torch.randn(2, 2 * reach + 1, generator=torch.Generator().manual_seed(1)).requires_grad_()
    expected = dense_attention(*heads, mask, reach, relative)[mask]
    result = local_attention(*heads, mask, reach, relative)[mask]
    torch.testing.assert_close(result.double(), expected, atol=2e-6, rtol=0)
    gradients = [torch.autograd.grad(outputs.square().sum(), relative)[0] for outputs in (result, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-5)


def test_global_attention_is_a_softmax_over_all_real_steps() -> None:
    heads, mask = drawn_heads(50), masks(50, 20)
    result = global_attention(*heads, mask)
    torch.testing.assert_close(result[mask].double(), dense_attention(*heads, mask, 50)[mask], atol=2e-6, rtol=0)


def test_a_window_as_wide_as_the_video_is_global() -> None:
    heads, mask = drawn_heads(20), masks(20, 13)
    torch.testing.assert_close(
        local_attention(*heads, mask, 19)[mask], global_attention(*heads, mask)[mask], atol=1e-6, rtol=0
    )


def test_a_video_of_only_padding_gives_finite_numbers() -> None:
    heads, mask = drawn_heads(40), torch.zeros(2, 40, dtype=torch.bool)
    assert local_attention(*heads, mask, 3).isfinite().all()
    assert global_attention(*heads, mask).isfinite().all()


def test_an_even_window_reaches_as_far_as_the_next_odd_one() -> None:
    reaches = [ConvAttention(8, 2, window=window, stride=1, dropout=0.0).reach for window in (18, 19, 2, 1, 0, -1)]
    assert reaches == [9, 9, 1, None, None, None]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_block_shortens_the_sequence_and_leaves_padding_zero(stride: int) -> None:
    block = TransformerBlock(8, 2, window=5, stride=stride)
    mask = torch.arange(24) < torch.tensor([[24], [11]])
    features = torch.randn(2, 8, 24) * mask[:, None]
    shorter = mask[:, None, ::stride]
    result = block(features, shorter)
    assert result.shape == (2, 8, 24 // stride)
    assert (result * ~shorter == 0).all()


@pytest.mark.parametrize(("rate", "stride"), [(0.5, 1), (0.5, 2), (1 - 1e-9, 1)])
def test_a_branch_that_is_dropped_is_not_computed_and_nothing_else_changes(rate: float, stride: int) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, window=5, stride=stride, drop_path=rate).double().train()
    for scale in (block.drop_path_attn.scale, block.drop_path_mlp.scale):
        torch.nn.init.normal_(scale)
    features = torch.randn(6, 24, 8, dtype=torch.float64).transpose(1, 2).requires_grad_()
    mask = (torch.arange(24) < torch.arange(4, 28, 4)[:, None])[:, None, ::stride]
    seen: list[int] = []
    for part in (block.attn, block.mlp):
        part.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))

    def run() -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        output = block(features, mask)
        return output, *torch.autograd.grad(output.square().sum(), [features, *block.parameters()])

    with computing_all_branches(block):
        expected = run()
    assert seen == [6, 6]
    for found, exact in zip(run(), expected, strict=True):  # gradients are there, though all videos lost the branch
        torch.testing.assert_close(found, exact, atol=1e-12, rtol=1e-12)
    assert seen[2:] == ([1, 1] if rate > 0.5 else [1, 3])

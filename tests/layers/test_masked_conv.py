from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from actloc.layers.masked_conv import MaskedConv1d, PointwiseConv1d, depthwise
from actloc.layers.norms import ChannelNorm


class KernelNames(TorchDispatchMode):
    """Lists the operators that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.kernels.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 4), (1, 1)])
def test_a_depthwise_convolution_equals_torchs(kernel: int, stride: int) -> None:
    conv = nn.Conv1d(6, 6, kernel, stride, kernel // 2, groups=6)
    features = torch.randn(2, 6, 20)
    torch.testing.assert_close(depthwise(conv, features), conv(features), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        depthwise(conv, features.transpose(1, 2).contiguous().transpose(1, 2)), conv(features), atol=1e-6, rtol=0
    )


def test_a_pointwise_convolution_equals_torchs() -> None:
    conv = PointwiseConv1d(5, 7)
    nn.init.normal_(conv.bias)
    features = torch.randn(2, 5, 9)
    torch.testing.assert_close(conv(features), nn.Conv1d.forward(conv, features), atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_steps", [9, 70])
def test_a_pointwise_convolution_of_many_rows_is_one_kernel_of_onednn_and_as_exact_as_a_product(num_steps: int) -> None:
    torch.manual_seed(0)
    conv, features = PointwiseConv1d(64, 32), torch.randn(2, num_steps, 64).transpose(1, 2).requires_grad_()
    with KernelNames() as names:
        output = conv(features)
    expected = F.linear(features.double().transpose(1, 2), conv.weight.squeeze(2).double()).transpose(1, 2)
    torch.testing.assert_close(output.double(), expected, atol=2e-6, rtol=0)
    assert output.transpose(1, 2).is_contiguous(), "a view of (B, T, C) memory"
    found, exact = (torch.autograd.grad(one.square().sum(), [features, conv.weight]) for one in (output, expected))
    for gradient, exact_gradient in zip(found, exact, strict=True):
        assert (gradient - exact_gradient).abs().max() <= 5e-6 * exact_gradient.abs().max()
    is_there = torch.backends.mkldnn.is_available()
    is_convolution = is_there and num_steps == 70
    assert names.kernels == (["aten.convolution.default"] if is_convolution else ["aten.addmm.default"])


def test_a_masked_convolution_reads_padding_but_its_output_is_zero_there() -> None:
    conv = MaskedConv1d(1, 1, 3, bias=False)
    nn.init.ones_(conv.conv.weight)
    mask = torch.tensor([[[True, True, False]]])
    assert conv(torch.tensor([[[1.0, 2.0, 4.0]]]), mask).tolist() == [[[3.0, 7.0, 0.0]]]


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(AssertionError, match="no centre"):
        MaskedConv1d(1, 1, 4)


def test_a_channel_norm_gives_each_step_mean_zero_and_variance_one() -> None:
    normed = ChannelNorm(16)(3 + 5 * torch.randn(2, 16, 7))
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(dim=1, correction=0), torch.ones(2, 7), atol=1e-4, rtol=0)


def test_a_channel_norm_turns_a_step_of_zeros_into_its_bias() -> None:
    norm = ChannelNorm(4)
    nn.init.normal_(norm.bias)
    torch.testing.assert_close(norm(torch.zeros(1, 4, 2)), norm.bias.expand(1, 4, 2))

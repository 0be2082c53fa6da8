"""Convolutions over time for padded batches (ActionFormer: Zhang et al., 2022, arXiv 2202.07925).

Sequences are (B, C, T) in shape. In memory, norms and matrix products want the channels of a step side by side, and so
do depthwise convolutions, which are ten times faster there on a CPU. Full convolutions stay channel-first: oneDNN's
channel-last ones round four times worse.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 128  # steps of all videos below which oneDNN's convolution of kernel 1 is slower than MKL's product


def depthwise(conv: nn.Conv1d, features: Tensor) -> Tensor:
    """`conv` of (B, C, T), computed on (B, T, C) memory; the result is a view of such memory."""
    image = features.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (B, C, 1, T)
    stride, padding = conv.stride[0], (0, conv.kernel_size[0] // 2)
    kernel = conv.weight.unsqueeze(2)
    return F.conv2d(image, kernel, conv.bias, (1, stride), padding, groups=conv.groups).squeeze(2)


def _product_as_convolution(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `PointwiseConv1d` computes, by oneDNN: on an AMD EPYC it takes half of the time of MKL's product."""
    image = features.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (B, C, 1, T)
    # the dilation of one step has no effect, but without it torch leaves the product to MKL if there is one thread
    return F.conv2d(image, weight.unsqueeze(2), bias, dilation=2).squeeze(2)


class MaskedConv1d(nn.Module):
    """A convolution of odd kernel, centred on every `stride`-th step, whose output is zero on padded steps."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        assert kernel % 2 == 1, f"an even kernel has no centre: {kernel}"
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T / stride); `mask` (B, 1, T / stride) is true on real steps of the output.

        The input is not masked: padded steps affect the real ones next to them, as in the official code.
        """
        return self.conv(features) * mask


class PointwiseConv1d(nn.Conv1d):
    """A convolution of kernel 1, computed as a matrix product on channel-last memory; its bias starts at zero."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        assert self.bias is not None, "Conv1d has a bias by default"
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T); the result is a view of (B, T, C') memory."""
        is_float32 = features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        is_large = len(features) * features.shape[2] >= FEW_ROWS
        if is_large and is_float32 and has_onednn and features.device.type == "cpu":  # bfloat16 is oneDNN's anyway
            return _product_as_convolution(features, self.weight, self.bias)
        return F.linear(features.transpose(1, 2), self.weight.squeeze(2), self.bias).transpose(1, 2)

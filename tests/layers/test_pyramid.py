import torch
import torch.nn.functional as F

from actloc.layers.pyramid import ConvBlock, TopDownNeck

FEATURES = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, 1, 12, dtype=torch.bool)


def test_a_conv_block_is_two_convolutions_and_a_shortcut() -> None:
    block = ConvBlock(4)
    inner = F.relu(F.conv1d(FEATURES, block.conv1.conv.weight, padding=1))
    expected = F.relu(F.conv1d(inner, block.conv2.conv.weight, padding=1) + FEATURES)
    torch.testing.assert_close(block(FEATURES, MASK), expected)


def test_a_shortening_conv_block_is_centred_on_every_second_step() -> None:
    block = ConvBlock(4, stride=2)
    inner = F.relu(F.conv1d(FEATURES, block.conv1.conv.weight, padding=1)[..., ::2])
    shortcut = F.conv1d(FEATURES, block.downsample.conv.weight)[..., ::2]
    expected = F.relu(F.conv1d(inner, block.conv2.conv.weight, padding=1) + shortcut)
    torch.testing.assert_close(block(FEATURES, MASK[..., ::2]), expected)


def test_a_top_down_neck_adds_every_coarse_level_to_all_finer_ones() -> None:
    neck = TopDownNeck(4, 3, 2)
    levels, masks = (
        [FEATURES[..., :n].clone().requires_grad_() for n in (12, 6, 3)],
        [MASK[..., :n] for n in (12, 6, 3)],
    )
    finest, middle, coarsest = neck(levels, masks)
    assert [level.shape[2] for level in (finest, middle, coarsest)] == [12, 6, 3]
    reached = torch.autograd.grad(finest[0, :, 0].square().sum(), levels, retain_graph=True)
    # the finest first step convolves steps 0 and 1, both below step 0 of the others
    assert [gradient[0].abs().sum(dim=0).nonzero().flatten().tolist() for gradient in reached] == [[0, 1], [0], [0]]
    assert not any(
        gradient is not None and gradient.any()
        for gradient in torch.autograd.grad(coarsest.square().sum(), levels[:2], allow_unused=True)
    )

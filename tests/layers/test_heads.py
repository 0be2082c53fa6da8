import torch

from actloc.layers.heads import ClassificationHead, RegressionHead, drop_gaps, join_levels


def levels_and_masks() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    masks = [(torch.arange(length) < length - 1)[None, None] for length in (8, 4, 2)]
    return [torch.randn(1, 6, mask.shape[2]) for mask in masks], masks


def test_joined_levels_part_again() -> None:
    levels, _ = levels_and_masks()
    joined = join_levels(levels, 2)
    assert joined.shape[2] == 8 + 4 + 2 + 3 * 2
    torch.testing.assert_close(drop_gaps(joined, [8, 4, 2], 2), torch.cat(levels, dim=2))


def test_heads_give_for_joined_levels_what_they_give_for_each_alone() -> None:
    levels, masks = levels_and_masks()
    classification = ClassificationHead(6, 3, num_layers=3, kernel=3, prior_probability=0.01)
    regression = RegressionHead(6, 3, num_layers=3, kernel=3)
    for level, scale in enumerate(regression.scale):
        torch.nn.init.constant_(scale.scale, 1.0 + level)
    inside = [torch.ones_like(mask) for mask in masks]
    joined = [join_levels(tensors, 1) for tensors in (levels, masks, inside)]
    logits = drop_gaps(classification(*joined), [8, 4, 2], 1)
    offsets = drop_gaps(regression(*joined, [9, 5, 3]), [8, 4, 2], 1)
    alone = list(zip(levels, masks, inside, strict=True))
    torch.testing.assert_close(logits, torch.cat([classification(*level) for level in alone], dim=2))
    expected = [
        torch.relu(regression.offset_head(regression._tower(*level), level[1]) * (1 + number))
        for number, level in enumerate(alone)
    ]
    torch.testing.assert_close(offsets, torch.cat(expected, dim=2))

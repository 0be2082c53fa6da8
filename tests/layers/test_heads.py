import torch

from actloc.layers.heads import ClassificationHead, RegressionHead, drop_gaps, join_levels


def levels_and_masks() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    masks = [(torch.arange(length) < length - 1)[None, None] for length in (8, 4, 2)]
    return [torch.randn(1, 6, mask.shape[2]) for mask in masks], masks


def test_joined_levels_can_be_split_again() -> None:
    levels, _ = levels_and_masks()
    joined = join_levels(levels, 2)
    assert joined.shape[2] == 8 + 4 + 2 + 3 * 2
    torch.testing.assert_close(drop_gaps(joined, [8, 4, 2], 2), torch.cat(levels, dim=2))


def test_heads_give_joined_levels_the_same_output_as_each_level_alone() -> None:
    levels, masks = levels_and_masks()
    classification = ClassificationHead(6, 3, hidden_dim=4, num_layers=3, kernel=3, prior_probability=0.01)
    regression = RegressionHead(6, 3, hidden_dim=4, num_layers=3, kernel=3)
    for level, scale in enumerate(regression.scale):
        torch.nn.init.constant_(scale.scale, 1.0 + level)
    alone = []
    for number, (level, mask) in enumerate(zip(levels, masks, strict=True)):
        of_level = RegressionHead(6, 1, hidden_dim=4, num_layers=3, kernel=3)
        of_level.load_state_dict(regression.state_dict(), strict=False)
        torch.nn.init.constant_(of_level.scale[0].scale, 1.0 + number)
        alone.append((classification([level], [mask]), of_level([level], [mask])))
    torch.testing.assert_close(classification(levels, masks), torch.cat([logits for logits, _ in alone], dim=1))
    torch.testing.assert_close(regression(levels, masks), torch.cat([distances for _, distances in alone], dim=1))


def test_a_head_of_one_layer_is_that_layer() -> None:
    levels, masks = levels_and_masks()
    classification = ClassificationHead(6, 3, hidden_dim=4, num_layers=1, kernel=3, prior_probability=0.5)
    logits = classification(levels[:1], masks[:1])
    expected = torch.nn.functional.conv1d(levels[0], classification.cls_head.conv.weight, padding=1) * masks[0]
    torch.testing.assert_close(logits, expected.transpose(1, 2))

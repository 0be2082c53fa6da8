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


def test_a_regression_head_that_sees_few_steps_gives_them_the_same_output_and_the_same_gradients() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([[16], [5]])
    masks = [(torch.arange(16 // stride) * stride < lengths)[:, None] for stride in (1, 2, 4)]
    levels = [torch.randn(2, 6, mask.shape[2], dtype=torch.float64, requires_grad=True) for mask in masks]
    regression = RegressionHead(6, 3, num_layers=3, kernel=3).double()
    for norm in regression.norm:
        torch.nn.init.normal_(norm.bias)
    torch.nn.init.ones_(regression.offset_head.conv.bias)
    seen: list[int] = []
    regression.offset_head.register_forward_hook(lambda _, given, __: seen.append(given[0][:, 0].numel()))
    for places in ([(0, 0), (0, 15), (1, 16)], [(1, 2), (1, 23), (1, 27)], []):
        wanted = torch.zeros(2, 16 + 8 + 4, dtype=torch.bool)
        for place in places:
            wanted[place] = True
        gradients = []
        for given in (None, wanted):
            distances = regression(levels, masks, given)
            loss = (distances.square() * torch.arange(1.0, 57).view(2, 28, 1))[wanted].sum()
            gradients.append(torch.autograd.grad(loss, [*regression.parameters(), *levels]))
        for found, expected in zip(gradients[1], gradients[0], strict=True):
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert seen[0] == 2 * (16 + 8 + 4 + 3)
    assert seen[1] <= 3 * 7 + 1, "each with three on both sides"
    assert seen[5] <= 4, "none is wanted, but the weights have gradients"

import torch
from torch import nn

from actloc.layers.grad_cam import Watched, class_maps, heat, resized


def test_the_weight_of_a_channel_is_its_gradients_mean_over_the_picture_at_each_time() -> None:
    maps, gradients = torch.randn(2, 2, 3, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = class_maps(maps, gradients)
    for clip in range(2):
        for time in range(5):
            weighted = sum(
                maps[clip, channel, time] * gradients[clip, channel, time].sum() / 24 for channel in range(3)
            )
            torch.testing.assert_close(found[clip, time], weighted.clamp(min=0))


def test_maps_are_resized_with_pixels_as_areas_and_scaled_by_clip() -> None:
    maps = torch.tensor([[[[0.0, 8.0]]], [[[2.0, 6.0]]]])  # (2, 1, 1, 2)
    larger = resized(maps, (2, 1, 4))
    torch.testing.assert_close(larger[0, 0, 0], torch.tensor([0.0, 2.0, 6.0, 8.0]))
    torch.testing.assert_close(larger[:, 0], larger[:, 1])
    torch.testing.assert_close(heat(maps), torch.tensor([[[[0.0, 1.0]]], [[[0.0, 1.0]]]]))
    assert torch.equal(heat(torch.zeros(1, 2, 3, 4)), torch.zeros(1, 2, 3, 4))


class TestWatched:
    def network(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 1, 3))

    def score(self, network: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([network(one[None]) for one in pictures]).square().sum()

    def test_several_calls_are_kept_in_order_before_they_are_changed_in_place(self) -> None:
        network, pictures = self.network(), torch.randn(2, 3, 9, 9)
        with Watched(network[1]) as watched:
            watched.backward(self.score(network, pictures))
        outputs, gradients = watched.with_gradients()
        expected = network[:2](pictures)
        torch.testing.assert_close(outputs, expected.detach())
        assert outputs.min() < 0
        scores = network[3](expected.relu()).square().sum()
        torch.testing.assert_close(gradients, torch.autograd.grad(scores, expected)[0])

    def test_no_weight_gets_a_gradient_and_the_result_is_the_same(self) -> None:
        network, pictures = self.network(), torch.randn(2, 3, 9, 9)
        with Watched(network[1]) as watched:
            score = self.score(network, pictures)
            watched.backward(score)
        assert all(weight.grad is None for weight in network.parameters())
        torch.testing.assert_close(score.detach(), self.score(network, pictures).detach())

    def test_outside_it_and_without_gradients_nothing_is_kept(self) -> None:
        network, pictures = self.network(), torch.randn(1, 3, 9, 9)
        with Watched(network[1]) as watched:
            with torch.no_grad():
                network(pictures)
            assert watched.outputs == []
        network(pictures)
        assert watched.outputs == []
        assert watched.with_gradients()[0].numel() == 0

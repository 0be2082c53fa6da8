"""The exponential moving average of a network's weights, which evaluation uses."""

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Averages every entry of the network's state dict, starting from a copy; integer entries are copied."""

    def __init__(self, network: nn.Module, *, decay: float, warm_up: bool) -> None:
        self.network = network
        self.decay = decay
        self.warm_up = warm_up
        self._averages = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, step: int) -> None:
        """Updates the averages with the weights after step `step` (from 0): old * decay + new * (1 - decay).

        With warm-up the decay is at most (1 + step) / (10 + step), so that the initial weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay
        state = self.network.state_dict()
        real = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self._averages[name] for name in real], [state[name] for name in real], 1 - decay)
        for name in state.keys() - set(real):
            self._averages[name].copy_(state[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights, under the network's names."""
        return dict(self._averages)

    def load_state_dict(self, averages: dict[str, Tensor]) -> None:
        """Restores `averages`, whose names must be the network's."""
        assert averages.keys() == self._averages.keys(), f"names differ: {averages.keys() ^ self._averages.keys()}"
        for name, tensor in averages.items():
            self._averages[name].copy_(tensor)

"""The exponential moving average of a run's weights, which evaluation uses."""

from collections.abc import Mapping

import torch
from torch import Tensor


class AveragedWeights:
    """Averages tensors by name, starting from copies of them; integers are copied."""

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float, warm_up: bool) -> None:
        self.decay = decay
        self.warm_up = warm_up
        self._averages = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Updates the averages with the weights after step `step` (from 0): old * decay + new * (1 - decay).

        With warm-up the decay is at most (1 + step) / (10 + step), so that the initial weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay
        real = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self._averages[name] for name in real], [weights[name] for name in real], 1 - decay)
        for name in weights.keys() - set(real):
            self._averages[name].copy_(weights[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return dict(self._averages)

    def load_state_dict(self, averages: Mapping[str, Tensor]) -> None:
        """Restores `averages`, which must have the same names."""
        assert averages.keys() == self._averages.keys(), f"names differ: {averages.keys() ^ self._averages.keys()}"
        for name, tensor in averages.items():
            self._averages[name].copy_(tensor)

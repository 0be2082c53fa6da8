"""The networks that a run trains, by name: what of each learns, and under which names it is stored.

A tensor's name is the network's, a slash, and its name in the network's state dict: `encoder/blocks.0.norm1.weight`.
"""

from __future__ import annotations  # names for the type checker only: checkpoints are found without importing torch

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actloc.structures import Factors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from actloc.training.optimizer import ParameterGroup

DETECTOR, ENCODER = "detector", "encoder"


@dataclass(frozen=True)
class TrainedModule:
    """A network and how it trains."""

    network: nn.Module
    rate_factor: float = 1.0
    """Its learning rate, as a multiple of the optimizer's."""
    weight_decay: float | None = None
    """Its own weight decay; None: the optimizer's."""
    has_fixed_buffers: bool = False
    """Whether its buffers stay as they are, as those of an encoder whose batch norms keep their statistics."""
    factors: Mapping[str, Factors] | None = None
    """By parameter, what multiplies its learning rate and weight decay; None: see `parameter_groups`."""
    rates: Mapping[str, float] | None = None
    """By parameter, what multiplies its learning rate alone, where it has no `factors`; None: nothing does."""

    def groups(self, weight_decay: float, *, decays_all: bool = False) -> list[ParameterGroup]:
        """Its parameters that learn, as an optimizer takes them; `decays_all` has no effect on those with factors."""
        from actloc.training.optimizer import factored_groups, parameter_groups  # which imports torch

        own = weight_decay if self.weight_decay is None else self.weight_decay
        if self.factors is not None:
            return factored_groups(self.network, own, self.rate_factor, self.factors)
        return parameter_groups(self.network, own, self.rate_factor, decays_all=decays_all, rates=self.rates)

    def entries(self, *, changing: bool) -> dict[str, Tensor]:
        """The entries of the network's state dict that training changes, or the others."""
        learns = {name: one.requires_grad for name, one in self.network.named_parameters(remove_duplicate=False)}
        state = self.network.state_dict()
        return {
            name: tensor for name, tensor in state.items() if learns.get(name, not self.has_fixed_buffers) == changing
        }


Modules = Mapping[str, TrainedModule]


def learning(modules: Modules) -> dict[str, Tensor]:
    """The tensors that training changes."""
    return _entries(modules, changing=True)


def frozen(modules: Modules) -> dict[str, Tensor]:
    """The tensors that training does not change."""
    return _entries(modules, changing=False)


def _entries(modules: Modules, *, changing: bool) -> dict[str, Tensor]:
    return {
        f"{module}/{name}": tensor
        for module, trained in modules.items()
        for name, tensor in trained.entries(changing=changing).items()
    }


def load(modules: Modules, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors of these names into the networks; the others stay as they are."""
    for module, trained in modules.items():
        own = of_module(tensors, module)
        unexpected = trained.network.load_state_dict(own, strict=False).unexpected_keys
        assert not unexpected, f"{module} has no {unexpected}"


def of_module(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """A network's tensors, under its own names."""
    prefix = f"{module}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

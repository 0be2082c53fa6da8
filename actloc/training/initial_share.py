"""How much of a run's initial weights is left in its averages, from the number of steps alone."""

import numpy as np


def initial_share(decay: float, num_steps: int, *, warm_up: bool) -> float:
    """The share of the initial weights in the averages after `num_steps` steps: the product of the decays, 0 to 1."""
    if not warm_up:
        return decay**num_steps
    steps = np.arange(num_steps, dtype=np.float64)
    return float(np.minimum((1 + steps) / (10 + steps), decay).prod())

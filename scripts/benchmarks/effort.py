"""How much `scripts/bench` measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """What is the same for every part of the benchmark."""

    lengths: int
    """Lengths of videos of which a mean is taken."""
    repeats: int
    """Runs of a step, of which the fastest counts; shorter work is repeated three times as often."""
    counted: tuple[int, int]
    """The two lengths, in feature steps, at which operations are counted."""
    shrink: int = 1
    """What every length and number of the official workload is divided by."""

    def of(self, size: int) -> int:
        """A length or number of the official workload, as it is measured here."""
        return size // self.shrink


FULL = Effort(lengths=5, repeats=3, counted=(1152, 2304))
QUICK = Effort(lengths=1, repeats=1, counted=(320, 640))
TOY = Effort(lengths=1, repeats=1, counted=(32, 64), shrink=32)
"""Shows in seconds that everything runs; its numbers say nothing about the official workload."""

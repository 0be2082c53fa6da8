"""Which clips of a window the encoder learns from in a step."""

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from actloc.settings.choices import ClipChoice
from actloc.structures import Visit


def number_of(num_clips: int, fraction: float, round_to: int) -> int:
    """How many of `num_clips` learn: the fraction rounded down, but at least one, or up to a multiple of `round_to`.

    Rounding up to whole chunks is ETAD's rule: 0.3 of 128 clips in fours are 40. (Its code adds 0.99, then cuts off.)
    """
    if round_to > 1:
        return min(int(num_clips * fraction / round_to + 0.99) * round_to or round_to, num_clips)
    return max(int(num_clips * fraction), 1)


def chosen(
    num_clips: int, count: int, choice: ClipChoice, generator: random.Random, last: Mapping[int, int] | None = None
) -> tuple[int, ...]:
    """`count` different numbers of 0 to `num_clips` - 1, in ascending order; of uniform_jitter, sometimes fewer.

    random          each as likely as any other
    uniform         evenly spaced from the first to the last, always the same
    uniform_jitter  evenly spaced, each moved at random by up to the distance between two, without repetitions:
                    TALLFormer's on ActivityNet, whose arithmetic never reaches the last clip
    stratified      one of each of `count` equal parts, so that every part of the window learns
    oldest          those whose turn was longest ago, by `last`, the time of each clip's last turn; ties at random
    """
    if count >= num_clips:
        return tuple(range(num_clips))
    match choice:
        case "random":
            return tuple(sorted(generator.sample(range(num_clips), count)))
        case "uniform":
            return tuple(number * (num_clips - 1) // max(count - 1, 1) for number in range(count))
        case "uniform_jitter":
            spacing = (num_clips - 1) / count
            return tuple(sorted({int((number + generator.random()) * spacing) for number in range(count)}))
        case "stratified":
            borders = [number * num_clips // count for number in range(count + 1)]
            return tuple(generator.randrange(borders[number], borders[number + 1]) for number in range(count))
        case "oldest":
            turns = last or {}
            order = generator.sample(range(num_clips), num_clips)
            return tuple(sorted(sorted(order, key=lambda clip: turns.get(clip, -1))[:count]))


@dataclass(frozen=True)
class LearningClips:
    """How the clips of a window that learn are drawn; as `number_of` and `chosen`, for the clips of one window."""

    fraction: float
    choice: ClipChoice
    round_to: int
    shared_draw: bool
    """Whether every window of a batch draws the same numbers."""

    def number(self, num_clips: int) -> int:
        """How many of `num_clips` learn."""
        return number_of(num_clips, self.fraction, self.round_to) if self.fraction < 1 else num_clips

    def drawn(
        self, clips: Sequence[int], generator: random.Random, visit: Visit, last: Mapping[int, int]
    ) -> frozenset[int]:
        """Those of `clips` that learn; `last` is the time of each one's last turn."""
        own = {number: last[clip] for number, clip in enumerate(clips) if clip in last}
        drawing = visit.shared() if self.shared_draw else generator
        return frozenset(
            clips[number] for number in chosen(len(clips), self.number(len(clips)), self.choice, drawing, own)
        )


class Turns:
    """When each clip of each video last learned. It follows from the draws of all earlier epochs, so nothing is stored:
    a resumed run draws them again, and any number of threads finds the same."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, dict[int, int]]] = {}
        self._lock = threading.Lock()

    def before(
        self, index: int, epoch: int, learned_in: Callable[[int, dict[int, int]], Iterable[int]]
    ) -> dict[int, int]:
        """The epoch of each clip's last turn before `epoch`; `learned_in` gives the clips of one, from those before it.

        An epoch counts even if its last, incomplete step left the video out.
        """
        with self._lock:
            known, turns = self._known.get(index, (0, {}))
        if known > epoch:
            known, turns = 0, {}
        turns = dict(turns)
        for earlier in range(known, epoch):
            turns |= dict.fromkeys(learned_in(earlier, dict(turns)), earlier)
        with self._lock:
            self._known[index] = epoch, turns
        return dict(turns)

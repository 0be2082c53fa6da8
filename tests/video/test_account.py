from fractions import Fraction

import pytest

from actloc.errors import VideoError
from actloc.video.readers.base import Account, Promise


def account(
    frames: int, seconds: float, errors: int = 0, *, corrupt: int = 0, sound_s: float = 0, start_s: float = 0
) -> Account:
    return Account(
        frames=frames,
        end_s=Fraction(seconds),
        errors=errors,
        corrupt_frames=corrupt,
        others_end_s=Fraction(sound_s),
        start_s=Fraction(start_s),
    )


def promise(
    frames: int | None = None, seconds: float | None = None, rate: int = 30, *, from_zero: bool = False
) -> Promise:
    counted = None if frames is None else Fraction(frames)
    return Promise(counted, None if seconds is None else Fraction(seconds), Fraction(rate), from_zero)


@pytest.mark.parametrize(
    ("found", "promised"),
    [
        (account(120, 4), promise(120, 4)),
        (account(119, 4), promise(120, 4)),  # one frame may lack
        (account(995, 1000 / 30), promise(1000, 1000 / 30)),  # or half a per cent
        (account(798, 26.6), promise(900, 26.6)),  # an edit list: the count overstates
        (account(60, 4), promise(None, 4)),  # a variable rate: 60 frames fill the time
        (account(120, 4), promise(None, None)),  # nothing promised
        (account(180, 6, start_s=5), promise(None, 11, from_zero=True)),  # Matroska counts from zero
        (account(120, 4, sound_s=5), promise(None, 5)),  # sound lasts longer than pictures
        (account(120, 4, 1), promise(120, 4)),
        (account(120, 4, corrupt=30), promise(120, 4)),  # patched up, but there
    ],
)
def test_a_complete_video_passes(found: Account, promised: Promise) -> None:
    found.check(promised)


@pytest.mark.parametrize(
    ("found", "promised", "reason"),
    [
        (account(72, 2.4), promise(120, 4), "truncated"),
        (account(72, 2.4, 1), promise(120, 4), "truncated"),  # the packet torn by the cut
        (account(72, 2.4, sound_s=2.4), promise(None, 4), "truncated"),
        (account(118, 4), promise(120, 4), "damaged"),
        (account(75, 4, 45), promise(120, 4), "damaged"),
        (account(994, 1000 / 30), promise(1000, 1000 / 30), "damaged"),
        (account(100, 4, 20), promise(None, 4), "damaged"),
        (account(100, 4, corrupt=5), promise(None, 4), "damaged"),  # a hole: the frames after it are patched up
        (account(100, 4, 3), promise(None, None), "damaged"),
        (account(0, 0), promise(120, 4), "truncated"),
        (account(0, 0, 120), promise(120, 4), "damaged"),
        (account(0, 0), promise(None, None), "empty"),
    ],
)
def test_what_lacks_has_a_reason(found: Account, promised: Promise, reason: str) -> None:
    with pytest.raises(VideoError) as caught:
        found.check(promised)
    assert caught.value.reason == reason

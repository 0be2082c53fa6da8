from fractions import Fraction

import pytest

from actloc.errors import VideoError
from actloc.video.readers.base import Declared, DecodingStats


def stats(
    frames: int, seconds: float, errors: int = 0, *, corrupt: int = 0, sound_s: float = 0, start_s: float = 0
) -> DecodingStats:
    return DecodingStats(
        frames=frames,
        end_s=Fraction(seconds),
        errors=errors,
        corrupt_frames=corrupt,
        others_end_s=Fraction(sound_s),
        start_s=Fraction(start_s),
    )


def declared(
    frames: int | None = None, seconds: float | None = None, rate: int = 30, *, from_zero: bool = False
) -> Declared:
    counted = None if frames is None else Fraction(frames)
    return Declared(counted, None if seconds is None else Fraction(seconds), Fraction(rate), from_zero)


@pytest.mark.parametrize(
    ("found", "declared"),
    [
        (stats(120, 4), declared(120, 4)),
        (stats(119, 4), declared(120, 4)),  # one frame may be missing
        (stats(995, 1000 / 30), declared(1000, 1000 / 30)),  # or half a per cent
        (stats(798, 26.6), declared(900, 26.6)),  # an edit list: the count overstates
        (stats(60, 4), declared(None, 4)),  # a variable rate: 60 frames fill the time
        (stats(120, 4), declared(None, None)),  # nothing declared
        (stats(180, 6, start_s=5), declared(None, 11, from_zero=True)),  # Matroska counts from zero
        (stats(120, 4, sound_s=5), declared(None, 5)),  # sound lasts longer than pictures
        (stats(120, 4, 1), declared(120, 4)),
        (stats(120, 4, corrupt=30), declared(120, 4)),  # patched up, but there
    ],
)
def test_a_complete_video_passes(found: DecodingStats, declared: Declared) -> None:
    found.check(declared)


@pytest.mark.parametrize(
    ("found", "declared", "reason"),
    [
        (stats(72, 2.4), declared(120, 4), "truncated"),
        (stats(72, 2.4, 1), declared(120, 4), "truncated"),  # the packet torn by the cut
        (stats(72, 2.4, sound_s=2.4), declared(None, 4), "truncated"),
        (stats(118, 4), declared(120, 4), "damaged"),
        (stats(75, 4, 45), declared(120, 4), "damaged"),
        (stats(994, 1000 / 30), declared(1000, 1000 / 30), "damaged"),
        (stats(100, 4, 20), declared(None, 4), "damaged"),
        (stats(100, 4, corrupt=5), declared(None, 4), "damaged"),  # a hole: the frames after it are patched up
        (stats(100, 4, 3), declared(None, None), "damaged"),
        (stats(0, 0), declared(120, 4), "truncated"),
        (stats(0, 0, 120), declared(120, 4), "damaged"),
        (stats(0, 0), declared(None, None), "empty"),
    ],
)
def test_a_video_with_missing_frames_fails_with_its_reason(
    found: DecodingStats, declared: Declared, reason: str
) -> None:
    with pytest.raises(VideoError) as caught:
        found.check(declared)
    assert caught.value.reason == reason

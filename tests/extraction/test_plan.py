import pytest

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.extraction.plan import Shard, durations, estimated_bytes, longest_first, shared_out
from tests.clips import spacing

DURATIONS = {"a": 10.0, "b": 60.0, "c": 10.0, "d": 30.0, "e": 50.0, "f": 40.0, "g": 10.0}
VIDEOS = {name: AnnotatedVideo(name, "train", duration_s=seconds) for name, seconds in DURATIONS.items()}


def test_the_longest_come_first_and_equals_by_their_ids() -> None:
    assert [video.id for video in longest_first(VIDEOS.values())] == ["b", "e", "f", "d", "a", "c", "g"]


def test_shards_are_balanced_and_share_nothing() -> None:
    shares = [shared_out(VIDEOS, Shard(number, 3)) for number in (1, 2, 3)]
    assert [list(share) for share in shares] == [["b", "c"], ["e", "a", "g"], ["f", "d"]]
    assert [sum(DURATIONS[name] for name in share) for share in shares] == [70, 70, 70]


def test_a_shard_does_not_depend_on_the_order_of_videos() -> None:
    turned = dict(reversed(VIDEOS.items()))
    for number in (1, 2):
        assert list(shared_out(turned, Shard(number, 2))) == list(shared_out(VIDEOS, Shard(number, 2)))


def test_more_shards_than_videos_leave_some_without_work() -> None:
    shares = [shared_out(VIDEOS, Shard(number, 9)) for number in range(1, 10)]
    assert sorted(name for share in shares for name in share) == sorted(VIDEOS)
    assert [len(share) for share in shares] == [1] * 7 + [0] * 2


def test_an_unknown_duration_counts_as_the_mean() -> None:
    videos = [*VIDEOS.values(), AnnotatedVideo("x", "train")]
    assert durations(videos)["x"] == 30.0
    assert durations([AnnotatedVideo("x", "train")]) == {"x": 1.0}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", " 1/2", "²/3", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard is"):
        Shard.parse(text)


def test_a_shard_makes_the_round_trip() -> None:
    assert Shard.parse("2/8") == Shard(2, 8)
    assert Shard.parse(Shard(12, 100).text) == Shard(12, 100)


def test_the_estimate_is_rows_times_channels_times_bytes() -> None:
    assert estimated_bytes([VIDEOS["a"]], 2048, spacing(fps=30.0, stride_frames=4), "float16") == [
        10 * 30 / 4 * 2048 * 2
    ]
    native = spacing(fps="native", stride_frames=4)
    own = AnnotatedVideo("own", "train", duration_s=10.0, fps=25.0)
    assert estimated_bytes([own], 2048, native, "float16") == [10 * 25 / 4 * 2048 * 2]

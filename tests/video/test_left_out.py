"""Videos that cannot be decoded: named once, and replaced by the next ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError, VideoError
from actloc.video.left_out import LeftOutVideos

VIDEOS = [AnnotatedVideo(name, "train", file=Path(f"{name}.mp4")) for name in ("a", "b", "c")]


def loading(broken: str, loaded: list[int]) -> Callable[[int], str]:
    def load(number: int) -> str:
        loaded.append(number)
        if VIDEOS[number].id in broken:
            raise VideoError("truncated", "it ends early", "10 frames", "5 frames")
        return VIDEOS[number].id.upper()

    return load


def test_the_next_video_is_taken_and_the_broken_one_is_tried_and_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    left_out, loaded = LeftOutVideos("clips.allow_missing", is_allowed=True), []
    assert left_out.first_readable(2, VIDEOS, loading("c", loaded)) == (0, "A")
    assert left_out.first_readable(2, VIDEOS, loading("c", loaded)) == (0, "A")
    assert (loaded, "c" in left_out, "a" in left_out) == ([2, 0, 0], True, False)
    assert capsys.readouterr().err.count("c is left out: truncated") == 1


def test_it_is_an_error_where_the_settings_do_not_allow_it_or_nothing_is_left() -> None:
    with pytest.raises(UserError, match=r"(?s)b\.mp4: truncated.*clips\.allow_missing=true"):
        LeftOutVideos("clips.allow_missing", is_allowed=False).first_readable(1, VIDEOS, loading("b", []))
    with pytest.raises(UserError, match="None of the training videos can be decoded"):
        LeftOutVideos("clips.allow_missing", is_allowed=True).first_readable(1, VIDEOS, loading("abc", []))

"""Headers of many videos: how many processes read them, and what becomes of the others when a file ends one."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from signal import SIGSTOP

import pytest

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import VideoError
from actloc.video.folder import with_all_facts
from actloc.video.headers import HeaderReader
from actloc.video.known_facts import KnownFacts
from actloc.video.reader import probe
from tests.videos import Clips

Started = list[subprocess.Popen[bytes]]


def outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except VideoError as error:
        return error.reason, error.detail, error.expected, error.found


@pytest.mark.usefixtures("forked_decoders")
def test_one_process_says_of_each_file_what_one_of_its_own_would(clips: Clips) -> None:
    names = ("plain.mp4", "only_sound.mp4", "late_start.mkv", "index_last_cut.mp4", "raw.h264", "none.mp4", "plain.mp4")
    files = [clips[name] if name != "none.mp4" else clips.folder / name for name in names]
    with HeaderReader(len(files)) as headers:
        assert headers.num_processes == 1
        seen = [outcome(lambda file=file: headers.facts(file)) for file in files]  # type: ignore[misc]
        process = headers._free.get()
        headers._free.put(process)
        assert process is not None
        assert not process.has_failed
    assert seen == [outcome(lambda file=file: probe(file)) for file in files]  # type: ignore[misc]


def linked(folder: Path, source: Path, *names: str) -> dict[str, AnnotatedVideo]:
    """Videos by id, whose files are `source` by other names."""
    for name in names:
        os.link(source, folder / f"{name}.mp4")
    return {name: AnnotatedVideo(name, "", file=folder / f"{name}.mp4") for name in names}


def test_a_file_that_ends_the_process_is_named_and_costs_itself_alone(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'actloc.video.decode' in sys.orig_argv:\n"
        "    from actloc.video.readers import pyav\n"
        "    read = pyav.facts\n"
        "    pyav.facts = lambda path: os.abort() if path.stem == 'evil' else read(path)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    unreadable: dict[str, str] = {}
    seen = with_all_facts(linked(tmp_path, clips["plain.mp4"], "a", "evil", "good", "last"), unreadable)
    assert [video_id for video_id, video in seen.items() if video.duration_s is None] == ["evil"]
    assert list(unreadable) == ["evil"]
    assert "the decoding process ended with SIGABRT" in unreadable["evil"]
    assert len(started) == 3  # the first, one for the file that ended it, and one for what came after
    assert all(process.poll() is not None for process in started)


def test_a_process_that_has_ended_or_hangs_is_replaced(clips: Clips, started: Started) -> None:
    with HeaderReader(1) as headers:
        facts = headers.facts(clips["plain.mp4"])
        started[0].kill()
        started[0].wait()
        assert headers.facts(clips["plain.mp4"]) == facts
        process = headers._free.get()
        assert process is not None
        headers._free.put(process)
        started[1].send_signal(SIGSTOP)
        process._timeout_s = 0.1
        with pytest.raises(VideoError, match="timeout"):
            headers.facts(clips["plain.mp4"])
        assert started[1].poll() is not None
        assert asdict(headers.facts(clips["plain.mp4"])) == asdict(facts)
    assert len(started) == 3


def test_an_unchanged_folder_starts_no_process(clips: Clips, tmp_path: Path, started: Started) -> None:
    videos = linked(tmp_path, clips["plain.mp4"], *"abcdefgh")
    other = clips["only_sound.mp4"]
    started.clear()  # what made the files
    first = with_all_facts(videos, known=KnownFacts(tmp_path))
    assert len(started) == 1
    assert with_all_facts(videos, known=KnownFacts(tmp_path)) == first
    assert len(started) == 1
    (tmp_path / "c.mp4").unlink()
    os.link(other, tmp_path / "c.mp4")
    again = with_all_facts(videos, {}, KnownFacts(tmp_path))
    assert len(started) == 2
    assert again == first | {"c": videos["c"]}

"""The viewer's server: who is answered, and how bytes of videos are sent."""

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from actloc.annotations.model import Action, AnnotatedVideo
from actloc.errors import Stopped, UserError
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import TrueAction
from actloc.viewer import opening, server
from actloc.viewer.converting import Converter
from actloc.viewer.viewed import ViewedSet, ViewedVideo, matched, with_files
from tests.videos import Clips, ffmpeg
from tests.viewer.made_up_set import HOSTILE, viewing, write_run

TOKEN = "the-token-of-this-call"
PATHS = ["", "set.json", "columns", "outcomes/0.5", "videos/0", "videos/0/playing", "videos/0/media", "files/main.js"]


@dataclass
class Client:
    """Plain HTTP, so that any header can be sent."""

    port: int

    def ask(
        self, path: str, method: str = "GET", host: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def own(self, path: str, **more: str) -> tuple[http.client.HTTPResponse, bytes]:
        return self.ask(f"/{TOKEN}/{path}", **more)


@dataclass
class Served:
    client: Client
    video: Path
    viewer: server.Viewer = field(repr=False)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    run, video = write_run(folder / "run"), clips["plain.mp4"]
    viewed = opening.results(run / "eval" / "test")
    viewed = with_files(viewed, {"first": video, "second": clips["sound.avi"]}, "There is none.")
    converter = Converter(folder / "cache")
    viewer = server.Viewer(viewed, converter, TOKEN)
    with server.listen(0) as listening:
        serving = server.server_on(listening, viewer)
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield Served(Client(serving.port), video, viewer)
        serving.shutdown()
        thread.join()
    converter.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_request_needs_the_token(served: Served, path: str) -> None:
    assert served.client.own(path)[0].status == 200
    for wrong in ("", "x", TOKEN[:-1], TOKEN.upper(), f"{TOKEN}x", "%C3%A9", "..", f"x/{TOKEN}"):
        response, body = served.client.ask(f"/{wrong}/{path}")
        assert response.status == 403, wrong
        assert b"Copy the whole address" in body
        assert TOKEN.encode() not in body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1]", "localhost.evil"]
)
def test_another_host_name_is_refused(served: Served, path: str, host: str) -> None:
    response, body = served.client.own(path, host=host)
    assert response.status == 400
    assert b"another host name" in body


def test_the_machines_own_names_are_answered_at_any_port(served: Served) -> None:
    for host in ("localhost", "localhost:9", "127.0.0.1:8000"):  # a tunnel has another port
        assert served.client.own("set.json", host=host)[0].status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{}", "http://127.0.0.1:1", ""])
def test_a_request_of_another_page_is_refused(served: Served, method: str, origin: str) -> None:
    asked = origin.format(served.client.port)
    response, _ = served.client.own("videos/1/playing", method=method, Origin=asked)
    assert response.status == 403
    own = f"http://127.0.0.1:{served.client.port}"
    assert served.client.own("videos/0/playing", method="GET", Origin=own)[0].status == 200


@pytest.mark.parametrize("path", [*PATHS, "nothing", "../x"])
def test_every_answer_has_the_headers_that_keep_a_page_safe(served: Served, path: str) -> None:
    response, _ = served.client.own(path)
    policy = response.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "files/../server.py", "files/..%2fserver.py", "files/%2e%2e/server.py", "files//etc/passwd", "videos/-1",
        "files/index.html", "videos/3", "videos/99999999999999999999", "videos/..%2f..%2fetc%2fpasswd/media",
        "videos/first/media", f"videos/{HOSTILE[:2]}/media".replace(">", "%3E").replace('"', "%22"), "videos/0/media/x",
        "outcomes/0.55", "outcomes/nan", "outcomes/..%2f0.5", "videos/2/media", "%00", "files/main.js%00",
    ],
)  # fmt: skip
def test_what_is_in_no_table_is_not_found(served: Served, path: str) -> None:
    assert served.client.own(path)[0].status == 404


def test_a_signal_that_comes_while_a_request_is_accepted_ends_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = iter([ValueError("a fault"), Stopped(signal.SIGTERM)])

    def process_request(*_: object) -> None:
        raise next(errors)

    with server.listen(0) as listening:
        serving = server.server_on(listening, served.viewer)
        monkeypatch.setattr(serving, "process_request", process_request)
        with socket.create_connection((server.HOST, serving.port)):
            serving.handle_request()  # another error is printed, and the server goes on
        assert "ValueError: a fault" in capsys.readouterr().err
        with socket.create_connection((server.HOST, serving.port)), pytest.raises(Stopped):
            serving.handle_request()
        serving.server_close()


def test_methods_that_change_nothing_are_the_only_ones(served: Served) -> None:
    assert served.client.own("set.json", method="POST")[0].status == 405
    assert served.client.own("videos/0/media", method="DELETE")[0].status == 405
    head, body = served.client.own("set.json", method="HEAD")
    assert (head.status, body) == (200, b"")


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-999999999", 206, slice(None)),
        ("bytes=5-999999999", 206, slice(5, None)),
        ("bytes=999999999-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-3", 416, None),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("lines=0-9", 200, slice(None)),
        ("bytes=", 200, slice(None)),
    ],
)
def test_ranges_of_bytes(served: Served, asked: str, status: int, part: slice | None) -> None:
    content = served.video.read_bytes()
    response, body = served.client.own("videos/0/media", Range=asked)
    assert response.status == status
    if part is None:
        assert response.getheader("Content-Range") == f"bytes */{len(content)}"
        return
    assert body == content[part]
    assert response.getheader("Accept-Ranges") == "bytes"
    assert response.getheader("Content-Type") == "video/mp4"
    if status == 206:
        first = range(len(content))[part].start
        assert response.getheader("Content-Range") == f"bytes {first}-{first + len(body) - 1}/{len(content)}"
    head, nothing = served.client.own("videos/0/media", method="HEAD", Range=asked)
    assert (head.status, nothing, head.getheader("Content-Length")) == (status, b"", str(len(body)))


def test_bytes_are_not_sent_again_if_they_are_the_same(served: Served) -> None:
    tag = served.client.own("videos/0/media")[0].getheader("ETag") or ""
    assert served.client.own("videos/0/media", **{"If-None-Match": tag})[0].status == 304
    assert served.client.own("videos/0/media", Range="bytes=0-9", **{"If-Range": '"old"'})[0].status == 200


def test_the_icon_needs_no_token_and_the_page_has_no_inline_script(served: Served) -> None:
    assert served.client.ask("/favicon.ico")[0].getheader("Content-Type", "").startswith("image/svg+xml")
    page = served.client.own("")[1].decode()
    assert page.count("<script") == 1
    assert '<script type="module" src="files/main.js"></script>' in page
    assert "style=" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    response, _ = served.client.ask(f"/{TOKEN}")
    assert (response.status, response.getheader("Location")) == (308, f"/{TOKEN}/")


def test_what_does_not_play_is_told_with_the_reason(served: Served) -> None:
    told = [json.loads(served.client.own(f"videos/{number}/playing")[1]) for number in range(3)]
    assert [one["state"] for one in told] == ["plays", "converts", "none"]
    assert "AVI" in told[1]["reason"]
    assert told[2]["reason"] == "There is none."
    assert served.client.own("videos/1/media")[0].status == 404


def test_columns_and_outcomes_are_those_of_the_set(served: Served) -> None:
    columns, outcomes = served.client.own("columns")[1], served.client.own("outcomes/0.5")[1]
    num_predictions, num_truths = np.frombuffer(columns, "<u4", 2)
    assert (num_predictions, num_truths) == (9, 6)
    scores = np.frombuffer(columns, "<f8", 9, 8)
    assert scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.2, 0.95]
    assert np.frombuffer(outcomes, "<i4", 6).tolist() == [0, 6, 7, -1, 8, -1]
    assert np.frombuffer(outcomes, np.uint8, 9, 24).tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_a_partly_annotated_video_says_when_its_actions_are_known(served: Served) -> None:
    annotated = [json.loads(served.client.own(f"videos/{number}")[1])["annotated"] for number in range(3)]
    assert annotated == [[], [[0, 8], [12, 15]], []]


def test_predictions_outside_the_annotated_time_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Prediction("run", 0.9, 1, 3), Prediction("run", 0.8, 5, 9), Prediction("run", 0.7, 4, 7)]
    viewed = ViewedSet("", [], [ViewedVideo("v", found)], has_truth=False, tious=[0.5])
    truth = AnnotatedVideo("v", "test", (Action(1, 3, "run"),), 20.0, annotated=((0, 6),))
    (video,) = opening.with_truth(viewed, {"v": truth}, None, Path("labels.json")).videos
    assert video.predictions == [found[0], found[2]]
    assert video.annotated == ((0, 6),)
    assert "Left out 1 prediction outside the annotated time" in "".join(capsys.readouterr())


def test_a_port_in_use_is_the_users_error(served: Served) -> None:
    with pytest.raises(UserError, match=f"Port {served.client.port} cannot be used"):
        server.listen(served.client.port)


def test_the_command_prints_its_address_and_ends_cleanly(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    with viewing(tmp_path, "run") as (address, process):
        assert address.startswith("http://127.0.0.1:")
        assert len(address.rstrip("/").rpartition("/")[2]) >= 32
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Stopped by SIGINT." in complaints
        assert "Traceback" not in complaints


def test_files_are_found_by_name_without_suffix_in_any_case() -> None:
    names = ["day1__walk", "v_abc", "Übung 2", "x.y"]
    viewed = ViewedSet("", [], [ViewedVideo(name, []) for name in names], has_truth=False, tious=[0.5])
    files = [Path(f"/videos/{name}") for name in ("Day1__walk.MP4", "abc.mkv", "Übung 2.avi", "x.y.mp4", "other.mp4")]
    assert matched(viewed, files) == dict(zip(names, files[:4], strict=True))


def test_a_set_without_any_true_action_has_only_background() -> None:
    from actloc.evaluation.predictions import Prediction
    from actloc.viewer.judging import Judge

    action = TrueAction(label="run", start_s=1.0, end_s=2.0)
    for truth, kinds in (([], [5]), ([action], [0])):
        video = ViewedVideo("a", [Prediction("run", 0.5, 1.0, 2.0)], truth)
        judged = Judge(ViewedSet("", [], [video], has_truth=True, tious=[0.5])).judged(0.5)
        assert judged.kinds.tolist() == kinds


def test_a_conversion_ends_with_the_viewer_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "long.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=60", "-c:v", "mpeg4", source)
    converter = Converter(tmp_path / "cache")
    converter.start(source, 60.0)
    while (conversion := converter.conversion_of(source)) is None or conversion.share == 0:
        assert conversion is None or conversion.state in ("waiting", "running")
        time.sleep(0.01)
    assert conversion.state == "running"
    converter.close()  # waits for the thread, which kills ffmpeg
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_video_that_ffmpeg_cannot_read_fails_with_a_reason_and_the_oldest_copies_go(tmp_path: Path) -> None:
    converter = Converter(tmp_path / "cache", most_bytes=1)
    (tmp_path / "bad.avi").write_bytes(b"no video")
    converter.start(tmp_path / "bad.avi", None)
    for name in ("one", "two"):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-c:v", "mpeg4", tmp_path / f"{name}.avi")
        converter.start(tmp_path / f"{name}.avi", 1.0)
    while converter.copy_of(tmp_path / "two.avi") is None or converter.copy_of(tmp_path / "one.avi") is not None:
        time.sleep(0.01)
    failed = converter.conversion_of(tmp_path / "bad.avi")
    assert failed
    assert failed.state == "failed"
    assert "cannot convert" in failed.reason
    assert converter.conversion_of(tmp_path / "one.avi") is None, "its copy went, so it can be asked for again"
    converter.start(tmp_path / "one.avi", 1.0)
    while converter.copy_of(tmp_path / "one.avi") is None:
        time.sleep(0.01)
    converter.close()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".mp4"]


def test_a_copy_that_is_deleted_while_it_is_looked_for_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.avi").write_bytes(b"a video")
    (tmp_path / "cache").mkdir()
    converter = Converter(tmp_path / "cache")
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert converter.copy_of(tmp_path / "one.avi") is None
    (tmp_path / "cache/gone.mp4").symlink_to(tmp_path / "nowhere")
    assert converter.size() == 0

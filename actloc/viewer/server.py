"""The viewer's page and data over HTTP, for the browser of this machine only.

Every address begins with a random token, so that other users and pages of this machine get nothing. Requests under
another host name (DNS rebinding) or from another page (Origin) are refused. Nothing of a request is ever a path: files
of the page are in a table, videos are numbers in a list.
"""

import hmac
import json
import secrets
import socket
import sys
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from importlib import resources
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.exceptions import HTTPException, NotFound, SecurityError
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.utils import send_file
from werkzeug.wrappers import Request, Response

from actloc.errors import Stopped, UserError
from actloc.viewer import payloads
from actloc.viewer.converting import Converter
from actloc.viewer.judging import Judge
from actloc.viewer.playing import Playing, media_type, playing, served_file
from actloc.viewer.viewed import ViewedSet, ViewedVideo

HOST = "127.0.0.1"
_TRUSTED_HOSTS = (HOST, "localhost")
_FILES = {
    "viewer.css": "text/css",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        ("main.js", "data.js", "counts.js", "videos.js", "timeline.js", "player.js", "keys.js"), "text/javascript"
    ),
}
"""Everything that the page loads, with its type."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_FORBIDDEN = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Not open to everyone</title></head>
<body><h1>This address does not open the viewer</h1>
<p>{}</p>
<p>Copy the whole address that <code>actloc view</code> printed in its terminal: it ends in a long random word that
changes each time.</p></body></html>
"""


class ViewerRequest(Request):
    """A request under this machine's own name; another name raises SecurityError when the host is asked for."""

    trusted_hosts = list(_TRUSTED_HOSTS)  # noqa: RUF012 - as Werkzeug has it


class Viewer:
    """The WSGI application; `token` is the first part of every path."""

    def __init__(self, viewed: ViewedSet, converter: Converter, token: str | None = None) -> None:
        self.viewed, self.converter = viewed, converter
        self.token = token or secrets.token_urlsafe(24)
        self._judge = Judge(viewed)
        self._tious = {f"{tiou:g}": tiou for tiou in viewed.tious}
        self._playing = lru_cache(1024)(self._playing_of)
        self._rules = Map(
            [
                Rule("/", endpoint=self._page, methods=["GET"]),
                Rule("/files/<name>", endpoint=self._file, methods=["GET"]),
                Rule("/set.json", endpoint=self._set, methods=["GET"]),
                Rule("/columns", endpoint=self._columns, methods=["GET"]),
                Rule("/outcomes/<tiou>", endpoint=self._outcomes, methods=["GET"]),
                Rule("/videos/<int:number>", endpoint=self._video, methods=["GET"]),
                Rule("/videos/<int:number>/playing", endpoint=self._playing_now, methods=["GET", "POST", "DELETE"]),
                Rule("/videos/<int:number>/media", endpoint=self._media, methods=["GET"]),
            ]
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        request = ViewerRequest(environ)
        try:
            response = self._answer(request)
        except SecurityError:
            response = _forbidden("The address has another host name than this machine's own.", HTTPStatus.BAD_REQUEST)
        except HTTPException as error:
            response = Response(f"{error.name}\n", error.code, mimetype="text/plain")
            response.headers.extend({k: v for k, v in error.get_headers() if k in ("Allow", "Content-Range")})
        response.headers.extend(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response(environ, start_response)

    def _answer(self, request: ViewerRequest) -> Response:
        host = request.host  # raises SecurityError for a foreign name
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return _forbidden("The request comes from another page.")
        _, token, *parts = [*request.path.split("/", 2), ""]
        if request.path == "/favicon.ico":
            return self._file(request, "icon.svg")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            return _forbidden("The address has no token, or not the one of this call.")
        if request.path == f"/{self.token}":  # addresses on the page begin where it is
            return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": f"/{self.token}/"})
        adapter = self._rules.bind(host, path_info=f"/{parts[0]}", default_method=request.method)
        endpoint, values = adapter.match()
        answer: Response = endpoint(request, **values)
        return answer

    def _page(self, request: Request) -> Response:
        return Response(_content("index.html"), mimetype="text/html")

    def _file(self, request: Request, name: str) -> Response:
        if name not in _FILES:
            raise NotFound
        return Response(_content(name), mimetype=_FILES[name])

    def _set(self, request: Request) -> Response:
        return _json(payloads.of_set(self.viewed, self.converter))

    def _columns(self, request: Request) -> Response:
        return _bytes(payloads.columns(self._judge))

    def _outcomes(self, request: Request, tiou: str) -> Response:
        if tiou not in self._tious or not self.viewed.has_truth:
            raise NotFound
        return _bytes(payloads.outcomes(self._judge.judged(self._tious[tiou])))

    def _video_numbered(self, number: int) -> ViewedVideo:
        if number >= len(self.viewed.videos):
            raise NotFound
        return self.viewed.videos[number]

    def _video(self, request: Request, number: int) -> Response:
        return _json(payloads.of_video(self._video_numbered(number), self.viewed.classes))

    def _playing_of(self, number: int) -> Playing:
        return playing(self._video_numbered(number))

    def _playing_now(self, request: Request, number: int) -> Response:
        video, facts = self._video_numbered(number), self._playing(number)
        if video.file is not None and facts.state != "none":
            if request.method == "POST":
                self.converter.start(video.file, facts.duration_s)
            elif request.method == "DELETE":
                self.converter.stop(video.file)
        return _json(payloads.of_playing(video, facts, self.converter))

    def _media(self, request: Request, number: int) -> Response:
        video, facts = self._video_numbered(number), self._playing(number)
        file = served_file(video, facts, self.converter)
        if file is None or not file.is_file():
            raise NotFound
        _settle_range(request.environ, file.stat().st_size)
        kind = media_type(file, facts)
        response = send_file(file, request.environ, mimetype=kind, conditional=True, etag=True, max_age=None)
        response.headers["Cache-Control"] = "no-cache"  # asked again, and answered without the bytes
        return response


def _content(name: str) -> bytes:
    return resources.files("actloc.viewer").joinpath("page", name).read_bytes()


def _json(value: Any) -> Response:  # Any: JSON values
    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False), mimetype="application/json")


def _bytes(content: bytes) -> Response:
    return Response(content, mimetype="application/octet-stream")


def _forbidden(reason: str, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> Response:
    return Response(_FORBIDDEN.format(reason), status, mimetype="text/html")


def _settle_range(environ: WSGIEnvironment, size: int) -> None:
    """Writes a Range header as Werkzeug reads it: it refuses some that RFC 9110 (section 14) answers.

    A list of ranges, or one in another unit, gets the whole file; a suffix longer than the file is all of it.
    """
    if "HTTP_RANGE" not in environ:
        return
    unit, _, spec = environ["HTTP_RANGE"].partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or "," in spec or not dash:
        del environ["HTTP_RANGE"]
    elif not first and last.isdecimal() and int(last) > size:
        environ["HTTP_RANGE"] = "bytes=0-"


class _Handler(WSGIRequestHandler):
    """Keeps connections open, and writes no line for each request: the address has the token."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


def listen(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0 takes a free one. Raises UserError if the port is in use."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UserError(
            f"Port {port} cannot be used: {error.strerror}.",
            "Expected a port of which no other program makes use.",
            "Leave out --port to take a free one, or name another.",
        ) from error
    return listening


class _Server(ThreadedWSGIServer):
    """Answers each request in a thread of its own, which keeps nobody waiting at the end: a video may be open."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: tuple[str, int] | str) -> None:  # Any: as werkzeug has it
        """Prints an error of a request and goes on; a signal that comes while one is accepted ends the server."""
        error = sys.exc_info()[1]
        if isinstance(error, Stopped):
            self.shutdown_request(request)
            raise error
        super().handle_error(request, client_address)


def server_on(listening: socket.socket, viewer: Viewer) -> BaseWSGIServer:
    """A server on the socket."""
    port = listening.getsockname()[1]
    return _Server(HOST, port, viewer, _Handler, fd=listening.fileno())


def address(server: BaseWSGIServer, viewer: Viewer) -> str:
    """What to open in a browser."""
    return f"http://{HOST}:{server.port}/{viewer.token}/"

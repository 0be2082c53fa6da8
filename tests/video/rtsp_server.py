"""A small RTSP server (RFC 2326) of one video, whose packets the bundled ffmpeg makes; for tests of live sources."""

import base64
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

SESSION = "Session: 1"


def receiver() -> tuple[int, socket.socket]:
    """A port that ffmpeg can send to, with the socket that receives there."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("127.0.0.1", 0))
    receiving.settimeout(0.2)
    return receiving.getsockname()[1], receiving


class Connection:
    """One client: answers its requests, and sends the packets in the way that it asks for."""

    def __init__(
        self, connection: socket.socket, video: Path, requests: list[str], *, has_udp: bool, password: str | None
    ) -> None:
        self.connection, self.video, self.has_udp, self.password = connection, video, has_udp, password
        self.client_port: int | None = None
        self.requests = requests

    def serve(self) -> None:
        """Until the client leaves, or the video ends."""
        reading = self.connection.makefile("rb")
        while request := reading.readline().decode():
            fields = dict(line.split(": ", 1) for line in iter(lambda: reading.readline().decode().strip(), ""))
            method = request.split()[0]
            self.requests.append(method)
            status, lines, body = self.answer(method, fields)
            text = [f"RTSP/1.0 {status}", f"CSeq: {fields['CSeq']}", *lines]
            text += [f"Content-Length: {len(body)}"] * bool(body)
            self.connection.sendall(("\r\n".join(text) + "\r\n\r\n" + body).encode())
            if method == "PLAY" and status == "200 OK":
                self.play()
                return

    def answer(self, method: str, fields: dict[str, str]) -> tuple[str, list[str], str]:
        """Status, headers and body."""
        if self.password is not None and method != "OPTIONS":
            expected = "Basic " + base64.b64encode(self.password.encode()).decode()
            if fields.get("Authorization") != expected:
                return "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"'], ""
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY"], ""
        if method == "DESCRIBE":
            return "200 OK", ["Content-Type: application/sdp"], description(self.video)
        if method == "SETUP":
            ports = re.search(r"client_port=(\d+)", fields["Transport"])
            if ports and not self.has_udp:
                return "461 Unsupported Transport", [], ""
            self.client_port = int(ports[1]) if ports else None
            transport = f"RTP/AVP;unicast;client_port={ports[1]}-{int(ports[1]) + 1}" if ports else fields["Transport"]
            return "200 OK", [SESSION, f"Transport: {transport}"], ""
        return "200 OK", [SESSION], ""

    def play(self) -> None:
        """Sends the video at its speed."""
        port, receiving = receiver()
        command = [*ffmpeg(self.video), "-f", "rtp", f"rtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200"]
        with receiving, subprocess.Popen(command, stdout=subprocess.DEVNULL) as sending:
            while True:
                try:
                    packet = receiving.recv(2048)
                except TimeoutError:
                    if sending.poll() is not None:
                        return
                    continue
                is_control = 192 <= packet[1] <= 223
                if self.client_port is not None:
                    receiving.sendto(packet, ("127.0.0.1", self.client_port + is_control))
                else:
                    self.connection.sendall(b"$" + bytes([is_control]) + len(packet).to_bytes(2) + packet)


def ffmpeg(video: Path) -> list[str]:
    """The command without its output."""
    return [get_ffmpeg_exe(), "-v", "error", "-re", "-i", str(video), "-c", "copy", "-an"]


def description(video: Path) -> str:
    """The session description (SDP) that ffmpeg makes of a video."""
    command = [*ffmpeg(video), "-t", "0.1", "-f", "rtp", "rtp://127.0.0.1:9"]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return made.partition("SDP:\n")[2].strip().replace("\n", "\r\n") + "\r\n"


@contextmanager
def serving(video: Path, *, has_udp: bool, password: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """The port of a server that plays the video to one connection, and the methods of its requests."""
    listening, requests = socket.create_server(("127.0.0.1", 0)), list[str]()

    def serve() -> None:
        connection, _ = listening.accept()
        listening.close()
        with connection, suppress(OSError):
            Connection(connection, video, requests, has_udp=has_udp, password=password).serve()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], requests
    thread.join()

"""A process that has imported everything and forks itself for each command: seconds of imports are paid once.

It answers JSON lines on the socket whose number is its argument: `run` comes with the descriptors that become the
command's stdout and stderr, and is answered by the process id; `wait` by the exit status, or by null after
`timeout_s`. Nothing is computed before a fork, so no thread is copied.
"""

import gc
import importlib
import json
import os
import pkgutil
import socket
import sys
import time
import traceback
from typing import Any

import torch._inductor  # noqa: F401 - which training imports, and takes longer for it than for a toy's eight steps

import actloc
from actloc import cli
from actloc.video import reader
from tests.forked_decoder import ForkingSubprocess

OPTIONAL = ("decord", "ray", "__main__")
"""Modules of what may not be installed, and the one that runs on import."""


def import_all() -> None:
    """Imports every module of actloc, so that no child has to."""
    for module in pkgutil.walk_packages(actloc.__path__, "actloc."):
        if module.name.rpartition(".")[2] not in OPTIONAL:
            importlib.import_module(module.name)


def run(request: dict[str, Any], descriptors: list[int]) -> None:
    """The command, in the forked child; never returns."""
    for target, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request["decoder_server"]:
        reader.subprocess = ForkingSubprocess(request["decoder_server"])  # type: ignore[assignment]
    sys.argv = ["actloc", *request["arguments"]]
    status = 1
    try:
        cli.main()
    except SystemExit as done:
        status = int(done.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int, timeout_s: float | None) -> int | None:
    """The exit status of a child, minus the number of the signal that killed it; None if it is still at work."""
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found, status = os.waitpid(child, 0 if end_s is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if end_s is None or time.monotonic() >= end_s:
            return None
        time.sleep(0.002)


def serve(connection: socket.socket) -> None:
    """Answers until the other end is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:
            return
        request = json.loads(message)
        answer: int | None
        if request["do"] == "run":
            answer = os.fork()
            if answer == 0:
                connection.close()
                run(request, descriptors)
        else:
            answer = ended(request["pid"], request["timeout_s"])
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    gc.disable()  # while a million objects are made that stay
    import_all()
    gc.enable()
    gc.freeze()  # children leave the pages of what is imported shared
    serve(socket.socket(fileno=int(sys.argv[1])))

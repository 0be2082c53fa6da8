"""A process that has imported everything and forks itself for each command: 2 s of imports are paid once.

Requests and answers are JSON lines on stdin and stdout. Nothing is computed before the fork, so no thread is copied.
"""

import json
import os
import signal
import sys
import time

import actloc.commands.evaluate
import actloc.commands.extract_features
import actloc.commands.predict
import actloc.commands.prepare
import actloc.commands.report
import actloc.commands.train
import actloc.datasets.custom
import actloc.encoders.color
import actloc.encoders.efficientnet_lite0
import actloc.sources.stored  # noqa: F401 - imported for the children
from actloc import cli


def run(request: dict[str, object]) -> None:
    """The command, in the forked child; never returns."""
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    os.chdir(str(request["folder"]))
    for descriptor, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["actloc", *request["arguments"]]  # type: ignore[misc]
    status = 1
    try:
        cli.main()
    except SystemExit as done:
        status = int(done.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _killed_after(child: int, seconds: float) -> tuple[int, int]:
    """How the child ended, by itself or by SIGKILL."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return ended, status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)


def serve() -> None:
    """Answers until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            answers.close()
            run(request)
        kill_after_s = request["kill_after_s"]
        _, status = os.waitpid(child, 0) if kill_after_s is None else _killed_after(child, kill_after_s)
        answers.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()

"""A process that cannot import torch, and forks itself for each command of a list: what it imports is paid once.

It reads a JSON list of `[folder, argument, ...]` and answers with a list of `[exit status, output]`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BLOCKED = ("torch", "safetensors.torch", "torchvision")


def outcomes(commands: Sequence[tuple[Path, Sequence[str]]]) -> list[tuple[int, str]]:
    """Exit status and output, both streams together, of each command in its folder."""
    cases = [[str(folder.resolve()), *arguments] for folder, arguments in commands]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torchless"],
        check=False,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    return [(status, output) for status, output in json.loads(done.stdout)]


def _outcome(folder: str, arguments: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            _run(folder, arguments, output.fileno())
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read()


def _run(folder: str, arguments: list[str], output: int) -> None:
    """The command, in the forked child; never returns."""
    import traceback

    from actloc import cli

    for target in (1, 2):
        os.dup2(output, target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.chdir(folder)
    sys.argv = ["actloc", *arguments]
    status = 1
    try:
        cli.main()
        status = 0
    except SystemExit as done:
        status = int(done.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    for name in BLOCKED:
        sys.modules[name] = None  # type: ignore[assignment]  # which makes its import fail
    from actloc import cli  # noqa: F401 - so that the children need not

    sys.stdout.write(json.dumps([_outcome(folder, arguments) for folder, *arguments in json.load(sys.stdin)]))

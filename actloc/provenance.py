"""Where results come from: code version, commit, machine, command line, checksum of the annotations."""

import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import actloc
from actloc import files
from actloc.settings import code_files

_REPOSITORY = Path(__file__).parent.parent
_RECORDED = ("torch", "numpy", "h5py", "av", "safetensors", "pydantic")


def commit() -> str | None:
    """The commit of actloc's code, `e993a18+changes` where files differ from it or are not in it.

    None outside a clone.
    """
    if not (_REPOSITORY / ".git").exists():
        return None
    head = _git("rev-parse", "--short=12", "HEAD")
    return f"{head}+changes" if head is not None and changed_files() else head


def changed_files() -> int | None:
    """How many files of the clone differ from its commit or are not in it; None outside a clone."""
    listed = _git("status", "--porcelain") if (_REPOSITORY / ".git").exists() else None
    return None if listed is None else len(listed.splitlines())


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_REPOSITORY), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine() -> str:
    """System, processor and number of cores, and the GPU if torch is in use and sees one."""
    torch = sys.modules.get("torch")  # who scores predictions from Python needs no torch
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores{gpu}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def record(annotations_file: Path) -> dict[str, Any]:
    """The contents of a run's `environment.json`."""
    return {
        "actloc": actloc.__version__,
        "commit": commit(),
        "changed_files": changed_files(),
        "code": [asdict(file) for file in code_files.in_use()],
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _RECORDED},
        "machine": machine(),
        "command": sys.argv,
        "annotations_sha256": files.sha256_of_file(annotations_file),
    }

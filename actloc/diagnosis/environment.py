"""The machine and what is installed on it; names of users and folders are left out, so that it can be published."""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from actloc import console
from actloc.devices import has_bfloat16_units
from actloc.diagnosis.finding import Finding, graded
from actloc.errors import EnvironmentProblem

_OLDEST_PYTHON, _OLDEST_TORCH = (3, 11), (2, 10)
_UNITS = {"avx2": "avx2", "avx512f": "avx512", "amx_tile": "amx", "avx512_bf16": "bf16", "amx_bf16": "bf16"}
"""Flags of /proc/cpuinfo, and what they are called."""
_DECODERS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg")
_LITTLE_DISK, _LITTLE_MEMORY = 2 << 30, 2 << 30
_PURPOSE = {
    "decord": "another video reader (machine.reader=decord)",
    "ray": "extraction and prediction on many machines (--engine ray)",
    "flow": "TV-L1 optical flow",
    "onnx": "networks without torch (export-onnx, predict --onnx)",
    "dev": "the tests",
}


def findings() -> list[Finding]:
    """Facts as notes, and what is missing or too old."""
    return [*_python(), *_torch(), *_processor(), *_ffmpeg(), *_decoders(), *_room(), *_extras()]


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        fix = f"Install Python {oldest} or newer"
        yield Finding("error", "python", f"Python {version} is older than {oldest}", fix=fix, value=version)
        return
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("note", "python", f"Python {version} on {system}; actloc {_version('actloc')}", value=version)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> Iterator[Finding]:
    version = _version("torch")
    if version is None:
        yield Finding("error", "torch", "torch is not installed", fix="Run: pip install torch")
        return
    numbers = tuple(int(one) for one in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST_TORCH:
        oldest = ".".join(map(str, _OLDEST_TORCH))
        what = f"torch {version} is older than {oldest}: loading a foreign checkpoint can corrupt memory"
        yield Finding("error", "torch", what, fix=f'Run: pip install --upgrade "torch>={oldest}"', value=version)
    else:
        what = f"torch {version}, with the fixes for loading foreign checkpoints"
        yield Finding("note", "torch", what, value=version)
    try:
        import torch
    except (ImportError, OSError) as error:
        fix = "Install torch again: pip install --force-reinstall torch"
        yield Finding("error", "torch", f"torch cannot be imported: {type(error).__name__}", fix=fix)
        return
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    devices = ", ".join(names) or "the CPU only"
    threads = torch.get_num_threads()
    yield Finding(
        "note",
        "devices",
        f"Devices: {devices}; {console.count(threads, 'thread')}",
        value={"gpus": names, "threads": threads},
    )


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[Finding]:
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    flags = lines[0].split() if lines else []
    units = sorted({name for flag, name in _UNITS.items() if flag in flags})
    known = ", ".join(units) or ("unknown to this system" if not flags else "none of avx2, avx512, amx and bf16")
    what = f"Processor: {os.cpu_count()} cores; units: {known}"
    if has_bfloat16_units() is False:
        what += "; bfloat16 is slower than float32 here"
    yield Finding("note", "processor", what, value={"cores": os.cpu_count(), "units": units})


def _ffmpeg() -> Iterator[Finding]:
    from actloc.video.base import find_ffmpeg

    try:
        path = find_ffmpeg()
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except EnvironmentProblem as problem:
        yield Finding("error", "ffmpeg", problem.found, fix=problem.fix)
        return
    except (OSError, subprocess.SubprocessError) as error:
        fix = "Run: pip install imageio-ffmpeg"
        yield Finding("error", "ffmpeg", f"ffmpeg does not run: {type(error).__name__}", fix=fix)
        return
    version = (re.findall(r"version (\S+)", done.stdout) or ["of unknown version"])[0]
    where = "on PATH" if shutil.which("ffmpeg") else "in imageio-ffmpeg"
    yield Finding("note", "ffmpeg", f"ffmpeg {version}, {where}", value=version)


def _decoders() -> Iterator[Finding]:
    import av

    missing = []
    for name in _DECODERS:
        try:
            av.codec.Codec(name, "r")
        except (ValueError, av.FFmpegError):
            missing.append(name)
    have = [name for name in _DECODERS if name not in missing]
    what = f"PyAV {av.__version__} decodes {', '.join(have)}"
    if missing:
        fix = "Videos of these kinds are read with machine.reader=ffmpeg"
        yield Finding("warning", "decoders", f"{what}, not {', '.join(missing)}", fix=fix, value=have)
    else:
        yield Finding("note", "decoders", what, value=have)


def _room() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    what = f"Disk: {free / 2**30:.1f} GB free in the current folder"
    little = "Features and checkpoints need more; free some, or work on another disk"
    is_little = free < _LITTLE_DISK
    yield Finding("warning" if is_little else "note", "disk", what, fix=little if is_little else "", value=free)
    with contextlib.suppress(ValueError, OSError, AttributeError):  # macOS does not say what is available
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        meminfo = Path("/proc/meminfo")
        if meminfo.is_file():
            found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="utf-8"))
            available = int(found[1]) * 1024 if found else available
        what = f"Memory: {available / 2**30:.1f} of {total / 2**30:.1f} GB available"
        is_little = available < _LITTLE_MEMORY
        fix = "Close other programs, or set training.batch_size=1" if is_little else ""
        severity = graded(is_little, "warning", "note")
        yield Finding(severity, "memory", what, fix=fix, value={"total": total, "available": available})


def _extras() -> Iterator[Finding]:
    if _version("actloc") is None:
        return
    needs: dict[str, list[str]] = {}
    for line in metadata.requires("actloc") or ():
        package, _, condition = line.partition(";")
        for extra in re.findall(r"extra == ['\"]([\w-]+)['\"]", condition):
            needs.setdefault(extra, []).append(package.strip())
    for extra, required in needs.items():
        packages = [re.split(r"[\s<>=!~\[;]", one)[0] for one in required]
        absent = [package for package in packages if _version(package) is None]
        purpose = f", for {_PURPOSE[extra]}" if extra in _PURPOSE else ""
        state = f"not installed: {', '.join(absent)}" if absent else "installed"
        fix = f'Run: pip install "actloc[{extra}]"' if absent else ""
        what = f"Optional {extra}{purpose}: {state}"
        value = {"extra": extra, "needs": required, "missing": absent}
        yield Finding("note", "extras", what, fix=fix, value=value)

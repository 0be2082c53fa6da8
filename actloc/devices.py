"""The device that the settings choose, and what it is slow at."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from pathlib import Path
from typing import TYPE_CHECKING

from actloc import console
from actloc.errors import UserError

if TYPE_CHECKING:
    import torch

_BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags in /proc/cpuinfo of processors that multiply bfloat16 numbers in hardware: x86, x86, ARM."""


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is the GPU, if there is one. Raises UserError for a GPU that does not exist."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"machine.device is {name}; torch finds {console.count(torch.cuda.device_count(), 'GPU')}.",
            "Expected a device of this machine.",
            "Set machine.device=auto",
        )
    return device


def has_bfloat16_units(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor multiplies bfloat16 numbers in hardware; None where the system does not say (macOS)."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    return bool(_BFLOAT16_UNITS & set(lines[0].split())) if lines else None


def warn_of_slow_bfloat16(precision: str, device: torch.device, setting: str) -> None:
    """Warns before long work in bfloat16 on a processor that has to emulate it; `setting` is the one that chose it."""
    if precision == "bfloat16" and device.type == "cpu" and has_bfloat16_units() is False:
        console.warn(
            f"{setting} is bfloat16, and this processor has no units for it (avx512_bf16 or amx_bf16): it is slower "
            f"than float32 here, 1.8 times on a Xeon that was measured. For speed, set {setting}=float32"
        )


def refuse_float16_on_cpu(precision: str, device: torch.device) -> None:
    """Raises UserError for training in float16 on a CPU, which computes it slowly."""
    if precision == "float16" and device.type == "cpu":
        raise UserError(
            "training.precision is float16 and the device is the CPU.",
            "Expected float16 on a GPU only.",
            "Set training.precision=bfloat16 or training.precision=float32",
        )

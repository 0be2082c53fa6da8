from pathlib import Path

import pytest
import torch

from actloc import devices
from actloc.errors import UserError


@pytest.mark.parametrize(
    ("text", "has_units"),
    [
        ("model name\t: Xeon\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_tile amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_vnni\n", False),
        ("nothing that is known\n", None),
    ],
)
def test_the_flags_of_a_processor_say_whether_it_multiplies_bfloat16(
    tmp_path: Path, text: str, has_units: bool | None
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert devices.has_bfloat16_units(tmp_path / "cpuinfo") is has_units
    assert devices.has_bfloat16_units(tmp_path / "absent") is None


@pytest.mark.parametrize("has_units", [True, False, None])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_without_units_for_it_is_warned_of(
    precision: str, has_units: bool | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16_units", lambda: has_units)
    devices.warn_of_slow_bfloat16(precision, torch.device("cpu"), "training.precision")
    warned = "set training.precision=float32" in " ".join(capsys.readouterr().err.split())
    assert warned is (precision == "bfloat16" and has_units is False)


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="Expected float16 on a GPU only"):
        devices.refuse_float16_on_cpu("float16", torch.device("cpu"))
    devices.refuse_float16_on_cpu("float16", torch.device("cuda"))
    devices.refuse_float16_on_cpu("bfloat16", torch.device("cpu"))

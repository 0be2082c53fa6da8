"""The packages of the extra actloc[onnx]."""

from importlib.util import find_spec

from actloc.errors import UserError


def check(*names: str) -> None:
    """Raises UserError if one of these packages is not installed; imports nothing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here.",
            "Expected the packages of the extra onnx.",
            'Run: pip install "actloc[onnx]"',
        )

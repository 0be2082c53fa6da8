"""The data that comes with actloc: in the repository, and as a copy in the wheel."""

from pathlib import Path

import actloc

SHIPPED_DATA = (Path("data/sample"), Path("data/learnable"))
"""The data sets that our configs name by these paths."""


def here_or_shipped(path: Path) -> Path:
    """`path`, or actloc's own copy where the working folder has none and the path is in a data set that it ships.

    So the sample's configs run from any folder, also after `pip install` without the repository.
    """
    if path.exists() or not any(path.is_relative_to(folder) for folder in SHIPPED_DATA):
        return path
    package = Path(actloc.__file__).parent
    roots = (package / "shipped_data", package.parent / "data")
    return next((copy for root in roots if (copy := root / path.relative_to("data")).exists()), path)

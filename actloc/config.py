"""The sections of an experiment's YAML: typed, frozen, documented; nothing below the front door edits them."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A block of settings. Unknown keys, wrong types and values out of bounds are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class Part(Section):
    """A block whose `name` chooses a file: `detector: {name: actionformer}` is `actloc/detectors/actionformer.py`."""

    name: str
    """The file that holds the part, or the dotted name of your own module."""

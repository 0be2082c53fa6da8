"""The values of a model's files that actloc reads itself, checked before anything is computed from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from actloc.errors import UserError

_Two = Annotated[list[PositiveInt], Len(2, 2)]
_Side = PositiveInt | _Two
_Number = Annotated[str, Field(pattern=r"^\d{1,9}$")]
_Colours = Annotated[list[float], Len(3, 3)]
_ONE_OR_TWO = "a positive number, or two (height and width)"
Json = dict[str, Any]  # Any: JSON values


class _Values(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Network(_Values):
    """The settings of the part that looks at pictures; what is left out has the default of transformers."""

    hidden_size: PositiveInt = Field(1, description="a positive number")
    patch_size: _Side = Field(16, description=_ONE_OR_TWO)
    image_size: _Side = Field(224, description=_ONE_OR_TWO)
    tubelet_size: PositiveInt | Annotated[list[PositiveInt], Len(3, 3)] = Field(
        2, description="a positive number, or three (frames, height and width)"
    )
    num_frames: PositiveInt = Field(1, description="a positive number")
    num_register_tokens: NonNegativeInt = Field(0, description="a number that is not negative")


class _Config(_Network):
    """What else config.json says."""

    vision_config: Json = Field({}, description="an object")
    architectures: list[str] | None = Field(None, description="a list of names, or null")
    id2label: dict[_Number, str] = Field({}, description="names of numbers from 0 on")


class _Height(_Values):
    height: PositiveInt
    width: PositiveInt


class _Shortest(_Values):
    shortest_edge: PositiveInt


class _Processor(_Values):
    resample: Literal[0, 1, 2, 3, 4, 5] = Field(2, description="a method of Pillow, 0 to 5")
    max_num_patches: PositiveInt = Field(1, description="a positive number")
    patch_size: PositiveInt = Field(1, description="a positive number")
    do_resize: bool = Field(True, description="true or false")
    do_center_crop: bool = Field(True, description="true or false")
    do_rescale: bool = Field(True, description="true or false")
    do_normalize: bool = Field(True, description="true or false")
    offset: bool = Field(True, description="true or false")
    rescale_factor: PositiveFloat = Field(1.0, description="a positive number")
    size: PositiveInt | _Height | _Shortest | None = Field(
        None, description="a positive number, or an object with shortest_edge, or with height and width"
    )
    crop_size: PositiveInt | _Height | None = Field(
        None, description="a positive number, or an object with height and width"
    )
    image_mean: _Colours | None = Field(None, description="three numbers")
    image_std: Annotated[list[PositiveFloat], Len(3, 3)] | None = Field(None, description="three positive numbers")


def check_config(file: Path, values: Json) -> None:
    """Raises UserError for the first value of config.json that cannot be, or that names code of the hub."""
    _check(_Config, file, values)
    _check(_Network, file, values.get("vision_config", {}))
    for name, value in _choices_of_code(values):
        raise UserError(
            f"{file}: {name} is {value}, which is code on the hub.",
            "Expected a model whose computation is that of transformers: actloc runs no code that a model names.",
            f"Delete {name} in a copy of the folder.",
        )
    if "quantization_config" in values:
        raise UserError(
            f"{file} has a quantization_config: its weights are quantized.",
            "Expected weights in floating point.",
            "Choose the model that was not quantized.",
        )


def check_processor(file: Path, values: Json) -> None:
    """Raises UserError for the first value of a processor's file that cannot be."""
    _check(_Processor, file, values)


def names_own_code(values: Json) -> bool:
    """Whether a file names code of its folder."""
    return "auto_map" in values


def _choices_of_code(values: Json) -> Iterator[tuple[str, str]]:
    """Implementations of attention and the like that transformers would get from the hub, at any depth."""
    for name, value in values.items():
        if name.endswith(("_implementation", "_implementation_internal")):
            text = json.dumps(value)
            if "/" in text:
                yield name, text
        elif isinstance(value, dict):
            yield from _choices_of_code(value)


def _check(form: type[_Values], file: Path, values: Json) -> None:
    try:
        form.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        found = json.dumps(values.get(name))
        raise UserError(
            f"{name} in {file} is {found if len(found) < _LONGEST else found[:_LONGEST] + ' ...'}.",
            f"Expected {form.model_fields[name].description}.",
            "Correct it in a copy of the folder, or copy the file again from where the model comes from.",
        ) from error


_LONGEST = 100
"""Characters of a wrong value in a message."""

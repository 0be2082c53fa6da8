"""The meanings of settings are read from the source of their classes."""

from pydantic import BaseModel, Field

from actloc.settings.meanings import meaning
from actloc.settings.sections import ScheduleSettings
from actloc.sources.stored import Config as StoredConfig


class Base(BaseModel):
    first: int = 1
    """What the first
    is."""
    second: int = 2
    third: int = Field(3, description="Said in the field.")


class Child(Base):
    second: int = 4
    """The child's own."""


def test_a_meaning_is_the_docstring_after_the_field_of_the_class_or_of_the_nearest_that_has_one() -> None:
    assert meaning(Base, "first") == meaning(Child, "first") == "What the first is."
    assert (meaning(Base, "second"), meaning(Child, "second")) == ("", "The child's own.")
    assert meaning(Child, "third") == "Said in the field."


def test_shipped_settings_have_theirs() -> None:
    assert all(meaning(ScheduleSettings, name) for name in ScheduleSettings.model_fields)
    assert meaning(StoredConfig, "path") == "The folder of the feature store."


def test_a_class_without_a_file_has_none() -> None:
    made: dict[str, type[BaseModel]] = {}
    exec("class Made(BaseModel):\n    x: int = 1\n", {"BaseModel": BaseModel, "__name__": "nowhere"}, made)
    assert meaning(made["Made"], "x") == ""

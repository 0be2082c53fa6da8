"""What a task says about its settings, without the code that does its work."""

from collections.abc import Mapping
from typing import Any, ClassVar

from actloc.errors import Problem
from actloc.settings.sections import Part, Section
from actloc.settings.yaml_text import SettingsDocument


class TaskSettings(Part):
    """Which sections the settings file of a task has. `name` chooses the task."""

    shapes = "weights"

    sections: ClassVar[Mapping[str, type[Section] | str]] = {}
    """Every section of the file but `task`, in the order in which they are shown: its class or, for a block whose
    `name` chooses a part, the kind of the part."""
    usual: ClassVar[Mapping[str, str]] = {}
    """The part that a section has if the file does not name one."""

    @classmethod
    def problems(cls, document: SettingsDocument, values: Mapping[str, Any]) -> list[Problem]:  # Any: sections or None
        """What is wrong with settings of several sections together; a section that is wrong by itself is None."""
        return []

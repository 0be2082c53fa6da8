"""The program itself, and how a function becomes one of its commands."""

from collections.abc import Callable
from typing import Any, get_type_hints

import typer

from actloc.command_line.usage import Command, Group

app = typer.Typer(
    name="actloc",
    cls=Group,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: actloc ls configs, then actloc show own_videos. Examples of a command: actloc train --help",
)

DATA, TRAINING, RESULTS, EXPERTS = "Your data", "Training", "Results", "For experts"


def command(
    group: str, *examples: str, name: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # Any: Typer reads the arguments of every command's function
    """Registers a function as a command in a group of the main help page; the examples end its own help page."""
    lines = "\n\n".join(["[bold]Examples[/bold]", *(f"  {example}" for example in examples)])
    register = app.command(name=name, cls=Command, rich_help_panel=group, epilog=lines)

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:  # Any: as above
        for hint in get_type_hints(function, include_extras=True).values():
            for described in getattr(hint, "__metadata__", ()):
                described.readable = False  # the command says what may not be read: that is no mistake of typing
        return register(function)

    return registered

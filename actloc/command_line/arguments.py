"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from actloc import console
from actloc.command_line import completion

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A settings file, or the name of one that `actloc ls` lists.",
        autocompletion=completion.configs,
    ),
]
ConfigOrRunArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A settings file, its name, or a run folder below ckpt/.",
        autocompletion=completion.configs_and_runs,
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A trained run below ckpt/.", autocompletion=completion.runs)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.KEY=VALUE", help="A setting that overrides one of the run."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY.KEY=VALUE",
        help="Settings that override those of the file, such as schedule.epochs=3.",
        autocompletion=completion.settings,
    ),
]
Code = Annotated[
    list[Path] | None,
    typer.Option(
        "--code",
        metavar="FILE_OR_FOLDER",
        help="Load your own detector, encoder, dataset, source, task or form of annotations from here; can be "
        "repeated. Also: ACTLOC_CODE.",
    ),
]
ChangedCode = Annotated[
    bool, typer.Option("--allow-changed-code", help="Continue although files of --code have changed.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output of an earlier run that used other settings.")
]

OverwriteFiles = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of these names that another program or you wrote.")
]


def _quiet(wanted: bool) -> None:
    if wanted:
        console.set_verbosity("quiet")


def _verbose(wanted: bool) -> None:
    if wanted:
        console.set_verbosity("verbose")


def _debug(wanted: bool) -> None:
    if wanted:
        console.use_tracebacks()


def _json(wanted: bool) -> None:
    if wanted:
        console.use_json_lines()


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, expose_value=False, help="Print errors and results only.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_verbose, expose_value=False, help="Print more: files, times, speed."),
]
Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, expose_value=False, help="Print the traceback of an error.")
]
Json = Annotated[
    bool, typer.Option("--json", callback=_json, expose_value=False, help="Print one JSON object per line to stdout.")
]

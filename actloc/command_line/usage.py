"""What is typed wrong on the command line: each mistake is answered with the command that does what was meant."""

import difflib
import re
import shlex
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from actloc import console
from actloc.command_line import exit_status
from actloc.errors import UserError

_OTHER_VERBS = {
    "prepare": "annotate annotations data preprocess index",
    "extract-features": "extract features encode extraction featurize",
    "import-features": "import",
    "train": "fit finetune fine-tune resume learn run training",
    "eval": "evaluate test score val evaluation metrics",
    "report": "plot visualize vis html table tables results summary",
    "predict": "infer inference detect find localize demo prediction",
    "ls": "list models",
    "show": "cat config print-config settings explain",
    "verify": "checksum fsck",
    "compare": "diff",
    "export": "pack",
}
"""What other tools call our commands; their arguments are taken as they are."""

_COPIED = ("A new experiment is a saved copy of a config's settings.", "actloc show own_videos > my.yaml")
_CHECKED = ("`show` checks the settings of a config, `verify` the files of a feature store or run.", "actloc show CONFIG")
_CHECKED_DATA = (
    "`prepare` checks annotations and videos; a dry run reports everything that is missing to extract features.",
    "actloc extract-features CONFIG --dry-run",
)
_ELSEWHERE = {
    **dict.fromkeys(("init", "new", "create", "cp", "copy", "quickstart"), _COPIED),
    **dict.fromkeys(("validate", "check", "lint"), _CHECKED),
    **dict.fromkeys(("doctor", "checks", "env", "info"), _CHECKED_DATA),
    "status": (
        "A list shows the runs with their scores; a dry run reports the features that are still to be extracted.",
        "actloc ls runs, or: actloc extract-features CONFIG --dry-run",
    ),
    "download": (
        "actloc downloads nothing; a dry run says which files are missing, where they come from and where to put them.",
        "actloc extract-features CONFIG --dry-run",
    ),
    "tensorboard": ("TensorBoard itself shows the curves of all runs.", "tensorboard --logdir ckpt"),
    **{kind: (f"`ls` lists {kind}.", f"actloc ls {kind}") for kind in ("configs", "recipes", "runs", "encoders")},
}
"""Commands that actloc does not have: what does the same, and how to run it."""

_FIRST_ARGUMENT = {"config", "cfg", "c", "config_file", "yaml", "run", "ckpt", "checkpoint", "model"}
_MORE_ARGUMENTS = {"input", "i", "video", "videos", "source"}
_OTHER_OPTIONS = {"--overwrite": {"force", "f", "y", "yes"}, "--output": {"o", "out", "output_dir", "output_folder"}}
_GPUS = {"gpu", "gpus", "gpu_id", "cuda", "device", "devices"}
_SHARED = {"quiet", "verbose", "debug", "json"}


class Command(TyperCommand):
    """A command that also takes the options of the program itself, and explains what it cannot parse."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # Any: Typer's parameters have no public type
        """The command's own parameters, then --quiet and the others, which may come before the command or after it."""
        own = super().get_params(ctx)
        program = ctx.parent.command.params if ctx.parent else []
        return [*own[:-1], *(one for one in program if one.name in _SHARED), *own[-1:]]  # the last one is --help

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Raises UserError."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if "--json" in typed:
                console.use_json_lines()  # what follows the mistake was not parsed
            raise _explained(self, ctx, typed, error) from error


class Group(TyperGroup):
    """The program: finds the command and turns whatever it meets into an exit status."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Without arguments it shows the help."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args or ["--help"])
        except typer.TyperException as error:
            raise typer.Exit(exit_status.fail(_explained(self, ctx, typed, error))) from error

    def invoke(self, ctx: typer.Context) -> Any:  # Any: as in the base class
        """Ends with the command's exit status."""
        raise typer.Exit(exit_status.finish(lambda: int(super(Group, self).invoke(ctx))))

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command meant by the first word; raises UserError that names the right one."""
        word, rest = args[0], args[1:]
        if word in self.commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if word == "version" or (word == "help" and not rest):
            self.main(["--version" if word == "version" else "--help"], prog_name=ctx.command_path)
        if word == "help":
            return self.resolve_command(ctx, [rest[0], "--help"])
        raise self._no_command(word, rest)

    def _no_command(self, word: str, rest: list[str]) -> UserError:
        found = f"actloc has no command {word}"
        if word in _ELSEWHERE:
            explanation, instead = _ELSEWHERE[word]
            return UserError(f"{found}.", explanation, f"Run: {instead}")
        for name, words in _OTHER_VERBS.items():
            if word in words.split():
                what = self.commands[name].get_short_help_str(limit=100)
                return UserError(f"{found}.", f"`{name}` does that: {what}", _again(name, rest))
        expected = f"Expected one of {', '.join(self.commands)}."
        close = difflib.get_close_matches(word, self.commands, n=1)
        if close:
            return UserError(f"{found}. Did you mean {close[0]}?", expected, _again(close[0], rest))
        return UserError(f"{found}.", expected, "See what each of them does: actloc --help")


def _again(name: str, arguments: list[str]) -> str:
    return f"Run: {shlex.join(['actloc', name, *arguments])}" if arguments else f"See how: actloc {name} --help"


def _explained(
    command: TyperCommand | TyperGroup, ctx: typer.Context, typed: list[str], error: typer.TyperException
) -> UserError:
    """What was wrong, how the command is used, and the line that was meant."""
    usage = f"Expected: {' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}"
    options = [option for one in command.get_params(ctx) for option in one.opts if option.startswith("-")]
    for place, word in enumerate(typed):
        option, equals, value = word.partition("=")
        if not re.fullmatch(r"--?[A-Za-z][\w-]*", option) or option in options:
            continue
        if set(option[1:]) <= {known[1] for known in options if len(known) == 2}:
            continue  # several short ones in a word
        takes_next = not equals and place + 1 < len(typed) and not typed[place + 1].startswith("-")
        before, after = typed[:place], typed[place + 1 + takes_next :]
        value = typed[place + 1] if takes_next else value
        return _no_option(ctx, option, value, [*before, *after], usage, options)
    message = error.format_message().rstrip(".")
    configs = "See the configs: actloc ls configs; and the help: " if "'CONFIG'" in message else "See: "
    return UserError(f"{message}.", usage, f"{configs}{ctx.command_path} --help")


def _no_option(  # noqa: PLR0911 - one answer for each kind of mistake
    ctx: typer.Context, option: str, value: str, others: list[str], usage: str, options: list[str]
) -> UserError:
    found = f"{ctx.command_path} has no option {option}"
    word = option.lstrip("-").replace("-", "_").lower()
    line = [*ctx.command_path.split(), *others]
    close = difflib.get_close_matches(option, options, n=1, cutoff=0.75)
    close = close or [ours for ours, words in _OTHER_OPTIONS.items() if word in words and ours in options]
    if close:
        instead = [*line, close[0], *([value] if value else [])]
        return UserError(f"{found}. Did you mean {close[0]}?", usage, f"Run: {shlex.join(instead)}")
    if word in _FIRST_ARGUMENT and value and ctx.parent:
        program, name, *rest = line
        return UserError(f"{found}.", usage, f"Run: {shlex.join([program, name, value, *rest])}")
    if word in _MORE_ARGUMENTS and value and ctx.command.name == "predict":
        return UserError(f"{found}.", usage, f"Run: {shlex.join([*line, value])}")
    if "KEY.KEY=VALUE" in usage:
        from actloc.experiment import nearest_settings

        for setting in nearest_settings(word)[:1]:
            expected = f"Expected settings without dashes: {setting} is one. {usage.removeprefix('Expected: ')}"
            instead = [*line, f"{setting}={_as_setting(word, value)}"]
            return UserError(f"{found}.", expected, f"Run: {shlex.join(instead)}")
    return UserError(f"{found}; it has {', '.join(options)}.", usage, f"See what they do: {ctx.command_path} --help")


def _as_setting(word: str, value: str) -> str:
    if word in _GPUS:
        return f"cuda:{value}" if value.isdigit() else value or "cuda"
    return value or ("cpu" if word == "cpu" else "VALUE")

"""Mistakes on the command line: each error names the command that does what was meant."""

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
    "init": "new quickstart scaffold setup configure",
    "prepare": "annotate annotations data preprocess index",
    "extract-features": "extract features encode extraction featurize",
    "import-features": "import",
    "train": "fit finetune fine-tune resume learn run training",
    "eval": "evaluate test score val evaluation metrics",
    "report": "plot visualize vis html table tables results summary",
    "predict": "infer inference detect find localize demo prediction",
    "watch": "live stream camera listen monitor realtime",
    "suggest": "select sample active-learning pick next label",
    "explain": "gradcam grad-cam cam saliency heatmap attention why",
    "ls": "list models",
    "show": "cat config print-config settings",
    "doctor": "checks env info diagnose",
    "verify": "checksum fsck",
    "convert-annotations": "export-annotations import-annotations convert-labels",
    "convert-predictions": "challenge submission submit export-predictions",
    "compare": "diff",
    "export": "pack",
    "export-onnx": "onnx to-onnx onnx-export deploy",
}
"""What other tools call our commands; their arguments are taken as they are."""

_COPIED = ("A new experiment is a saved copy of a config's settings.", "actloc show own_videos > my.yaml")
_CHECKED = (
    "`show` checks the settings of a config, `verify` the files of a feature store or run.",
    "actloc show CONFIG [SETTINGS]",
)
_ELSEWHERE = {
    **dict.fromkeys(("create", "cp", "copy"), _COPIED),
    **dict.fromkeys(("validate", "check", "lint"), _CHECKED),
    "status": (
        "A list shows the runs with their scores; a dry run reports the features that are still to be extracted.",
        "actloc ls runs, or: actloc extract-features CONFIG [SETTINGS] --dry-run",
    ),
    "download": (
        "actloc downloads nothing; a dry run says which files are missing, where they come from and where to put them.",
        "actloc extract-features CONFIG [SETTINGS] --dry-run",
    ),
    "tensorboard": ("TensorBoard itself shows the curves of all runs.", "tensorboard --logdir ckpt"),
    **{
        kind: (f"`ls` lists {kind}.", f"actloc ls {kind}")
        for kind in ("configs", "recipes", "runs", "datasets", "encoders")
    },
}
"""Commands that actloc does not have: what does the same, and how to run it."""

_FIRST_ARGUMENT = {"config", "cfg", "c", "config_file", "yaml", "run", "ckpt", "checkpoint", "model"}
_MORE_ARGUMENTS = {"input", "i", "video", "videos", "source"}
_OTHER_OPTIONS = {"--overwrite": "force f y yes", "--output": "o out output_dir output_folder", "--dry-run": "n dry"}
_WITH_SETTINGS = {"prepare", "extract-features", "import-features", "train", "eval", "show", "predict", "convert"}
_WITH_SETTINGS |= {"convert-annotations", "convert-predictions", "doctor", "init"}
_GPUS = {"gpu", "gpus", "gpu_id", "cuda", "device", "devices"}
_SHARED = {"quiet", "verbose", "debug", "json"}
Context = Any
"""What is being parsed; the class is private to Typer."""


class Command(TyperCommand):
    """A command that also takes the options of the program itself, and explains what it cannot parse."""

    def get_params(self, ctx: Context) -> list[Any]:  # Any: Typer's parameters have no public type
        """The command's own parameters, then --quiet and the others, which may come before the command or after it."""
        own = super().get_params(ctx)
        program = ctx.parent.command.params if ctx.parent else []
        shared = [one for one in program if one.name in _SHARED]
        return _without_types([*own[:-1], *shared, *own[-1:]])  # the last one is --help

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """`[OPTIONS] CONFIG [KEY.KEY=VALUE]...`."""
        arguments = [one for one in self.params if one.param_type_name == "argument"]
        names = [one.metavar if one.required else f"[{one.metavar}]" for one in arguments]
        return ["[OPTIONS]", *(f"{name}{'...' * (one.nargs != 1)}" for name, one in zip(names, arguments, strict=True))]

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Raises UserError."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if "--json" in typed:
                console.use_json_lines()  # what follows the mistake was not parsed
            raise _explained(self, ctx, typed, error) from error


class Group(TyperGroup):
    """The program: finds the command and turns every outcome into an exit status."""

    def get_params(self, ctx: Context) -> list[Any]:  # Any: as above
        """The program's own options."""
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Without arguments it shows the help."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args or ["--help"])
        except typer.TyperException as error:
            raise typer.Exit(exit_status.fail(_explained(self, ctx, typed, error))) from error

    def invoke(self, ctx: Context) -> Any:  # Any: as in the base class
        """Ends with the command's exit status."""
        raise typer.Exit(exit_status.finish(lambda: int(super(Group, self).invoke(ctx))))

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
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
            error = UserError(f"{found}.", explanation, f"Run: {instead}")
            error.name_config(rest[0] if rest else "CONFIG", rest[1:])
            return error
        for name, words in _OTHER_VERBS.items():
            if word in words.split():
                what = self.commands[name].get_short_help_str(limit=100)
                return UserError(f"{found}.", f"`{name}` does that: {what}", _again(name, rest))
        expected = f"Expected one of {', '.join(self.commands)}."
        close = difflib.get_close_matches(word, self.commands, n=1)
        if close:
            return UserError(f"{found}. Did you mean {close[0]}?", expected, _again(close[0], rest))
        return UserError(f"{found}.", expected, "See what each of them does: actloc --help")


def _without_types(parameters: list[Any]) -> list[Any]:  # Any: as above
    """Without the `<bool>` that help pages show next to a flag, which takes no value."""
    for one in parameters:
        if one.param_type_name == "option" and one.is_flag:
            one.metavar = ""
    return parameters


def _again(name: str, arguments: list[str]) -> str:
    return f"Run: {shlex.join(['actloc', name, *arguments])}" if arguments else f"See how: actloc {name} --help"


def _explained(
    command: TyperCommand | TyperGroup, ctx: Context, typed: list[str], error: typer.TyperException
) -> UserError:
    """What was wrong, how the command is used, and the line that was meant."""
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    options = [option for one in command.get_params(ctx) for option in one.opts if option.startswith("-")]
    unknown = [word.partition("=")[0] for word in typed if _is_unknown(word, options)]
    see = f"See: {ctx.command_path} --help"
    if unknown:
        meant, settings = _meant(command.name or "", typed, options)
        long = [option for option in options if option.startswith("--")]
        plural = "s" if len(unknown) > 1 else ""
        return UserError(
            f"{ctx.command_path} has no option{plural} {', '.join(unknown)}.",
            f"Settings follow without dashes: {usage}" if settings else f"Expected: {usage}",
            f"Run: {ctx.command_path} {shlex.join(meant)}" if meant else f"It has {', '.join(long)}. {see}",
        )
    message = error.format_message().rstrip(".")
    settings = [word for word in typed if re.match(r"\w+(\.\w+)+=", word)]
    if "extra argument" in message and settings and "--set" in options:
        others = [word for word in typed if word not in settings and word != "--set"]
        line = shlex.join([*others, *(word for one in settings for word in ("--set", one))])
        return UserError(f"{message}.", "Expected settings after --set.", f"Run: {ctx.command_path} {line}")
    return UserError(
        f"{message}.",
        f"Expected: {usage}",
        f"See the configs: actloc ls configs; the help: {ctx.command_path} --help" if "'CONFIG'" in message else see,
    )


def _is_unknown(word: str, options: list[str]) -> bool:
    option = word.partition("=")[0]
    short = {known[1] for known in options if len(known) == 2}
    return bool(re.fullmatch(r"--?[A-Za-z][\w-]*", option)) and option not in options and not set(option[1:]) <= short


def _meant(command: str, typed: list[str], options: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without unknown options, empty if one has no meaning here; and those that became settings."""
    first: list[str] = []
    others: list[str] = []
    settings: list[str] = []
    rest = list(typed)
    while rest:
        word = rest.pop(0)
        if not _is_unknown(word, options):
            others.append(word)
            continue
        option, equals, value = word.partition("=")
        name = option.lstrip("-").replace("-", "_").lower()
        value = rest.pop(0) if not equals and name != "cpu" and rest and not rest[0].startswith("-") else value
        close = difflib.get_close_matches(option, options, n=1, cutoff=0.75)
        close = close or [ours for ours, words in _OTHER_OPTIONS.items() if name in words.split() and ours in options]
        if close:
            others += [close[0], value] if value else close[:1]
        elif name in _FIRST_ARGUMENT and value and command:
            first.append(value)
        elif name in _MORE_ARGUMENTS and value and command in ("predict", "suggest", "explain"):
            others.append(value)
        elif command in _WITH_SETTINGS and (setting := _setting(name, value)):
            settings.append(setting)
        else:
            return [], []
    return [*first, *others, *settings], settings


def _setting(name: str, value: str) -> str:
    """`machine.device=cuda:0` for the option --gpu 0; empty if no setting is like it."""
    from actloc.experiment import nearest_settings

    nearest = nearest_settings(name)
    if nearest and name in _GPUS:
        value = f"cuda:{value}" if value.isdigit() else value or "cuda"
    return f"{nearest[0]}={value or ('cpu' if name == 'cpu' else 'VALUE')}" if nearest else ""

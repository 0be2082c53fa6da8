"""The command that looks for what is wrong: its name, arguments and examples."""

from pathlib import Path
from typing import Annotated

import typer

from actloc.command_line import completion
from actloc.command_line.arguments import Code, Overrides, OverwriteFiles
from actloc.command_line.program import DATA, command


@command(
    DATA,
    "actloc doctor",
    "actloc doctor sample_efficientnet_actionformer",
    "actloc doctor ckpt/sample_efficientnet_actionformer --json",
    "actloc doctor data/spliced_sample/videos --full",
    "actloc doctor ckpt/sample_efficientnet_actionformer --labels --folds 3",
    "actloc doctor ckpt/sample_efficientnet_actionformer --labels --format label-studio,elan",
)
def doctor(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="A config, a run, or a folder of videos, annotations or features. Default: the environment.",
            autocompletion=completion.configs_and_runs,
        ),
    ] = None,
    overrides: Overrides = None,
    full: Annotated[bool, typer.Option("--full", help="Decode every video, and compare their pictures; slow.")] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="List the annotations that a trained run contradicts, in label_audit.csv.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=2,
            help="With --labels: split the videos in this many folds, and let runs that are trained on the others "
            "judge each; as slow as training this many runs.",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM,FORM",
            help="With --labels: also write what the run finds in place of wrong annotations, and where there is none, "
            "for annotation tools: label-studio, elan, boris, via, csv, ...",
        ),
    ] = "",
    output: Annotated[Path | None, typer.Option(help="With --format: the folder. Default: label_suggestions.")] = None,
    overwrite: OverwriteFiles = False,
    code: Code = None,
) -> int:
    """Report what is wrong with the machine, the data or a run, the worst first, and how to fix it; changes nothing.

    Of a run it computes why the mAP is low. The exit status is 2 where a command would fail or results are false.
    With --labels it lists annotations that are likely wrong instead, in the run's label_audit.csv.
    """
    if labels or folds is not None or formats or output is not None:
        from actloc.commands import doctor_labels

        for_tools = doctor_labels.ForTools(formats, output, overwrite)
        return doctor_labels.run(target, overrides or (), code or (), folds, for_tools, labels=labels, full=full)
    from actloc.commands import doctor as diagnosing

    return diagnosing.run(target, overrides or (), code or (), decodes=full)

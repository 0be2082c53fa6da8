"""The command line: names, arguments, examples; the work is in `actloc/commands/`, imported when it is run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from actloc import __version__, console
from actloc.command_line import completion, streams
from actloc.command_line.arguments import (
    ChangedCode,
    Code,
    ConfigArgument,
    ConfigOrRunArgument,
    Debug,
    Json,
    Overrides,
    Overwrite,
    OverwriteFiles,
    Quiet,
    Verbose,
)
from actloc.command_line.exit_status import run_on
from actloc.command_line.program import DATA, RESULTS, TRAINING, app, command
from actloc.settings.choices import TableForm


def main() -> None:
    """Entry of the console script and of `python -m actloc`."""
    streams.make_reliable()
    app(prog_name="actloc")


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"actloc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    # every command takes these too, before its own arguments or after them
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    json: Json = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find when actions happen in untrimmed video."""


@command(
    DATA,
    "actloc init my_videos",
    "actloc init my_videos labels.csv --output mine.yaml",
)
def init(
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", help="The folder of your videos.")],
    annotations: Annotated[
        Path | None,
        typer.Argument(
            metavar="ANNOTATIONS",
            help="A table of actions, a file of an annotation tool, or a folder of them. Default: what is beside the "
            "videos.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="How to read them: annotations_form, annotations_fps, unit, first_frame, tiers, point_seconds.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The settings file. Default: the folder's name and .yaml.")
    ] = None,
    code: Code = None,
    overwrite: OverwriteFiles = False,
) -> int:
    """Write settings for your own videos, chosen by their number and lengths.

    The lengths of the actions count too. It only reads the annotations and the headers of the videos. Each choice is
    explained in the file.
    """
    from actloc.commands import init as initialising

    if annotations is not None and "=" in str(annotations) and not annotations.exists():
        annotations, settings = None, [str(annotations), *(settings or [])]
    return initialising.run(videos, annotations, output, settings or (), code or (), overwrite=overwrite)


@command(
    DATA,
    "actloc prepare sample_efficientnet_actionformer",
    "actloc prepare sample_efficientnet_actionformer dataset.folder=data/other",
)
def prepare(
    config: ConfigArgument, overrides: Overrides = None, code: Code = None, overwrite: Overwrite = False
) -> int:
    """Read the dataset's original annotations, check them, and write annotations.json.

    Videos are converted too where the settings ask for it (preparation.videos).
    """
    return run_on("prepare", config, overrides, code, check_inputs=True, overwrite=overwrite)


@command(
    DATA,
    "actloc convert-annotations labels.csv elan_files --form elan",
    "actloc convert-annotations labels.csv tasks.json --form label-studio videos=videos",
    name="convert-annotations",
)
def convert_annotations(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A file, or a folder of files of one form; its form is seen from it.")
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The file to write; a folder for forms that hold one video in a file."),
    ],
    form: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="label-studio, elan, boris, via, fiftyone, csv, audacity, textgrid, srt, vtt or activitynet.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="How to read: annotations_form, annotations_fps, unit, first_frame, tiers=\\[a,b], point_seconds; "
            "videos=FOLDER for lengths and rates.",
        ),
    ] = None,
    code: Code = None,
    overwrite: OverwriteFiles = False,
) -> int:
    """Convert annotations from the files of one annotation tool to those of another.

    All forms that are read: actloc ls annotation_forms
    """
    from actloc.commands import convert_annotations as converting

    return converting.run(source, target, form, overrides or (), code or (), overwrite=overwrite)


@command(
    DATA,
    "actloc extract-features sample_efficientnet_actionformer",
    "actloc extract-features sample_efficientnet_actionformer --shard 1/4",
    "actloc extract-features sample_efficientnet_actionformer --engine ray",
)
def extract_features(
    config: ConfigArgument,
    overrides: Overrides = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Extract the I-th of N equal shares; all can run at the same time, such as a Slurm array.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: this machine; ray: the cluster at RAY_ADDRESS, or a local one."),
    ] = "local",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Report remaining work and anything missing, then stop; exit 2 if something is missing."
        ),
    ] = False,
    code: Code = None,
    allow_changed_code: ChangedCode = False,
    overwrite: Overwrite = False,
) -> int:
    """Extract features from videos, one HDF5 file per video.

    Run it again to continue where it stopped.
    """
    return run_on(
        "extract_features",
        config,
        overrides,
        code,
        allow_changed_code=allow_changed_code,
        overwrite=overwrite,
        shard=shard,
        dry_run=dry_run,
        engine=engine,
    )


@command(
    TRAINING,
    "actloc train sample_efficientnet_actionformer",
    "actloc train sample_efficientnet_actionformer run.name=seed1 run.seed=1",
    "actloc train sample_efficientnet_actionformer training.batch_size=8 --dry-run",
    "actloc train sample_efficientnet_actionformer --check",
)
def train(
    config: ConfigOrRunArgument,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Continue from this checkpoint of the run, not from the newest."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Report a step's memory and anything missing, then stop; exit 2 if something is missing."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Take two steps, validate on a few videos and save a checkpoint, all in a temporary folder; report "
            "time and memory of the whole run.",
        ),
    ] = False,
    code: Code = None,
    allow_changed_code: ChangedCode = False,
    overwrite: Overwrite = False,
) -> int:
    """Train a detector, or a network that recognises trimmed clips.

    Run it again to continue where it stopped; on a CPU the result is the same to the last bit.
    On several GPUs or processes: torchrun --nproc-per-node 2 -m actloc train CONFIG; each batch is split between them.
    """
    return run_on(
        "train",
        config,
        overrides,
        code,
        resume=resume,
        dry_run=dry_run,
        check=check,
        allow_changed_code=allow_changed_code,
        overwrite=overwrite,
    )


@command(TRAINING, "actloc ls", "actloc ls recipes", name="ls")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="configs, recipes, datasets, encoders, sources, detectors or runs. Default: all.",
            autocompletion=completion.kinds,
        ),
    ] = None,
    code: Code = None,
) -> int:
    """List configs, parts and runs."""
    from actloc.commands import list_ as listing

    return listing.run(what, code or ())


@command(
    TRAINING,
    "actloc show sample_efficientnet_actionformer",
    "actloc show sample_efficientnet_actionformer optimizer.learning_rate=3e-4",
)
def show(config: ConfigOrRunArgument, overrides: Overrides = None, code: Code = None) -> int:
    """Print every setting of an experiment with its meaning, and the size of its encoder.

    The output is a settings file: save it, change it, and name it in place of the config.
    """
    return run_on("show", config, overrides, code)


@command(
    RESULTS,
    "actloc eval sample_efficientnet_actionformer",
    "actloc eval ckpt/sample_efficientnet_actionformer evaluation.weights=raw",
    "actloc eval sample_efficientnet_actionformer --predictions "
    "ckpt/sample_efficientnet_actionformer/eval/test/predictions.json",
    name="eval",
)
def evaluate(
    config: ConfigOrRunArgument,
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score this file, not a run: ActivityNet's JSON, or lines `video start end class score`."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="With --predictions: whose they are, such as TURN-TAP. The results are kept in ckpt/NAME."),
    ] = None,
    save_scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recognition: write class scores of the videos, and of windows of untrimmed ones, for fusion.scores: "
            ".json or .h5.",
        ),
    ] = None,
    code: Code = None,
) -> int:
    """Score a run, an official checkpoint or a predictions file; write metrics and predictions.

    An official checkpoint is named by a setting: evaluation.weights_file=epoch_035.pth.tar
    """
    return run_on("evaluate", config, overrides, code, predictions=predictions, scores=save_scores, name=name)


@command(
    RESULTS,
    "actloc report ckpt/sample_efficientnet_actionformer",
    "actloc report ckpt/sample_efficientnet_actionformer ckpt/seed1 --output ckpt/comparison",
    "actloc report ckpt/sample_efficientnet_actionformer --format latex",
    "actloc report ckpt/sample_efficientnet_actionformer --card",
)
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Run folders, or their configs, that `actloc eval` has scored.",
            autocompletion=completion.configs_and_runs,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report. Default: the run's own; for several runs, report_of_A_and_B beside the first."
        ),
    ] = None,
    form: Annotated[
        TableForm | None,
        typer.Option("--format", help="Print the table in this form and nothing else, and write no files."),
    ] = None,
    card: Annotated[
        bool,
        typer.Option("--card", help="Write a model card instead: README.md beside the weights that `eval` uses."),
    ] = False,
    license_id: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="With --card: the licence of the weights, such as apache-2.0."),
    ] = None,
    overwrite: OverwriteFiles = False,
    code: Code = None,
) -> int:
    """Write tables and report.html, for one run or for several side by side.

    Runs that differ in the seed only are one row, their mean and standard deviation. Others are compared with the
    first.
    """
    from actloc.commands import report as reporting

    return reporting.run(
        runs, output=output, form=form, card=card, license_id=license_id, code=code or (), overwrite=overwrite
    )


from actloc.command_line import applying, diagnosing, experts  # noqa: E402, F401 - last: listed last on the help page

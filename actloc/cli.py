"""The command line: names, arguments, examples; the work is in `actloc/commands/`, imported when asked for."""

import io
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from actloc import __version__, console
from actloc.exit_status import finish, run_on

app = typer.Typer(
    name="actloc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: scripts/demo, or: actloc ls",
)

ConfigArgument = Annotated[str, typer.Argument(help="A settings file, or the name of one that `actloc ls` shows.")]
ConfigOrRunArgument = Annotated[str, typer.Argument(help="A settings file, its name, or a run folder below ckpt/.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY.KEY=VALUE", help="Settings that go before those of the file.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run with other settings made.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout, for programs.")]


def _examples(*commands: str) -> str:
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {command}" for command in commands)])


def main() -> None:
    """Entry of the console script and of `python -m actloc`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 still shows every name
    app()


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"actloc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find when actions happen in untrimmed video."""


@app.command(
    epilog=_examples(
        "actloc prepare sample_efficientnet_actionformer",
        "actloc prepare sample_efficientnet_actionformer dataset.folder=data/other",
    )
)
def prepare(
    config: ConfigArgument, overrides: Overrides = None, overwrite: Overwrite = False, json: Json = False
) -> None:
    """Read the dataset's own form, check it, and write annotations and videos for the steps after."""

    run_on("prepare", config, overrides, check_inputs=True, as_json=json, overwrite=overwrite)


@app.command(
    epilog=_examples(
        "actloc extract-features sample_efficientnet_actionformer",
        "actloc extract-features sample_efficientnet_actionformer --shard 1/4",
        "actloc extract-features sample_efficientnet_actionformer --engine ray",
    )
)
def extract_features(
    config: ConfigArgument,
    overrides: Overrides = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Do the I-th of N equal parts; all may run at once, on one machine or a Slurm array."
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local works in this process; ray on the cluster of RAY_ADDRESS, or one started here."),
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell how much there is to do and what is missing; status 2 if it is.")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn videos into features: one HDF5 file per video. Run it again to go on where it stopped."""

    run_on(
        "extract_features",
        config,
        overrides,
        as_json=json,
        overwrite=overwrite,
        shard=shard,
        dry_run=dry_run,
        engine=engine,
    )


@app.command(
    epilog=_examples(
        "actloc import-features thumos14_i3d_actionformer data/thumos14/i3d --recipe i3d_thumos",
        "actloc import-features thumos14_i3d_actionformer data/thumos14/i3d_half features.dtype=float16",
    )
)
def import_features(
    config: ConfigArgument,
    store: Annotated[Path, typer.Argument(help="The folder of the feature store to make, or to go on with.")],
    overrides: Overrides = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="What made the features, kept with them; else CONFIG's name.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Put published feature files, which the source `folders` reads in place, into a feature store with checksums.

    Each video's rows are checked against its duration. Run it again to go on where it stopped.
    """

    run_on("import_features", config, overrides, as_json=json, store=store, recipe=recipe, overwrite=overwrite)


@app.command(
    epilog=_examples(
        "actloc train sample_efficientnet_actionformer",
        "actloc train sample_efficientnet_actionformer run.name=seed1 run.seed=1",
    )
)
def train(
    config: ConfigOrRunArgument,
    overrides: Overrides = None,
    resume: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Go on from this checkpoint, not from the newest.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a detector. Run it again to go on where it stopped, bit for bit.

    On several GPUs or processes: torchrun --nproc-per-node 2 -m actloc train CONFIG; the batch is shared between them.
    """

    run_on("train", config, overrides, as_json=json, resume=resume, overwrite=overwrite)


@app.command(
    name="eval",
    epilog=_examples(
        "actloc eval sample_efficientnet_actionformer",
        "actloc eval ckpt/sample_efficientnet_actionformer evaluation.weights=raw",
        "actloc eval sample_efficientnet_actionformer --predictions "
        "ckpt/sample_efficientnet_actionformer/eval/test/predictions.json",
    ),
)
def evaluate(
    config: ConfigOrRunArgument,
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score this file, without a model: ActivityNet's JSON, or `video start end class score`."),
    ] = None,
    json: Json = False,
) -> None:
    """Score a run, evaluation.weights_file=epoch_035.pth.tar, or a file of predictions: metrics and predictions."""

    run_on("evaluate", config, overrides, as_json=json, predictions=predictions)


@app.command(
    epilog=_examples(
        "actloc report ckpt/sample_efficientnet_actionformer",
        "actloc report ckpt/sample_efficientnet_actionformer ckpt/seed1 --output ckpt/comparison",
    )
)
def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folders, or their configs, that `actloc eval` has scored."),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for the report; the first run's own without it.")] = None,
    json: Json = False,
) -> None:
    """Write tables and report.html, for one run or many side by side."""

    def work() -> int:
        from actloc.commands import report as command
        from actloc.experiment import run_folder

        return command.run([run_folder(name) for name in runs], output=output)

    finish(work, json)


@app.command(
    epilog=_examples(
        "actloc predict ckpt/sample_efficientnet_actionformer data/spliced_sample/videos/test_00*.mp4",
        "actloc predict ckpt/sample_efficientnet_actionformer my.mp4 --output found --set prediction.threshold=0.3",
    )
)
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A trained run below ckpt/.")],
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files; no annotations needed.")],
    output: Annotated[Path, typer.Option(help="Folder for JSON, CSV, SRT and the timeline page.")] = Path(
        "predictions"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.KEY=VALUE", help="A setting that goes before the run's.")
    ] = None,
    json: Json = False,
) -> None:
    """Find actions in new videos with a trained run."""

    run_on("predict", run, settings, as_json=json, videos=videos, output=output)


@app.command(
    epilog=_examples(
        "actloc convert ckpt/sample_efficientnet_actionformer official.pth.tar",
        "actloc convert official.pth.tar ckpt/converted sample_efficientnet_actionformer",
    )
)
def convert(
    source: Annotated[
        Path, typer.Argument(help="An official ActionFormer checkpoint, or a run or checkpoint of ours.")
    ],
    target: Annotated[Path, typer.Argument(help="The run folder, or the official file, to make.")],
    config: Annotated[str | None, typer.Argument(help="The settings of an official checkpoint.")] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Turn an official ActionFormer checkpoint into a run, or a run into one; weights only."""

    def work() -> int:
        from actloc.commands import convert as command

        return command.run(source, target, config, overrides)

    finish(work, json)


@app.command(name="ls", epilog=_examples("actloc ls", "actloc ls recipes"))
def list_(
    what: Annotated[
        str | None,
        typer.Argument(help="configs, recipes, datasets, encoders, sources, detectors or runs; none: all."),
    ] = None,
    json: Json = False,
) -> None:
    """List configs, parts and runs."""

    def work() -> int:
        from actloc.commands import list_ as command

        return command.run(what)

    finish(work, json)


@app.command(
    epilog=_examples(
        "actloc show sample_efficientnet_actionformer",
        "actloc show sample_efficientnet_actionformer optimizer.learning_rate=3e-4",
    )
)
def show(config: ConfigOrRunArgument, overrides: Overrides = None) -> None:
    """Print the complete settings of an experiment, each with its meaning."""

    run_on("show", config, overrides)


@app.command(
    epilog=_examples(
        "actloc verify ckpt/sample_efficientnet_actionformer",
        "actloc verify data/spliced_sample/efficientnet_lite0",
    )
)
def verify(
    path: Annotated[Path, typer.Argument(help="A feature store, a run folder or a checkpoint.")], json: Json = False
) -> None:
    """Check a store, run or checkpoint against its own checksums."""

    def work() -> int:
        from actloc.commands import verify as command

        return command.run(path)

    finish(work, json)


@app.command(
    epilog=_examples(
        "actloc compare data/ours data/published",
        "actloc compare data/ours data/published --shift 0.5 --output dimensions.csv",
    )
)
def compare(
    first: Annotated[Path, typer.Argument(metavar="STORE", help="A feature store.")],
    second: Annotated[Path, typer.Argument(metavar="STORE", help="Another one, with features of the same videos.")],
    most_shift_s: Annotated[
        float,
        typer.Option("--shift", min=0, max=600, help="Most seconds by which features are moved."),
    ] = 2.0,
    output: Annotated[Path | None, typer.Option(help="A CSV for the correlation of every dimension.")] = None,
    json: Json = False,
) -> None:
    """Tell two feature stores apart: settings, correlation per dimension, best shift in time."""

    def work() -> int:
        from actloc.commands import compare as command

        return command.run(first, second, most_shift_s=most_shift_s, output=output)

    finish(work, json)


@app.command(
    epilog=_examples(
        "actloc export data/spliced_sample/efficientnet_lite0 features.h5",
        "actloc export data/spliced_sample/efficientnet_lite0 features.h5 --overwrite",
    )
)
def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A feature store.")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The HDF5 file to make.")],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Pack a feature store into one HDF5 file."""

    def work() -> int:
        from actloc.commands import export as command

        return command.run(store, target, overwrite=overwrite)

    finish(work, json)

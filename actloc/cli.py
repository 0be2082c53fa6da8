"""The command line: names, arguments, examples; the work is in `actloc/commands/`, imported when it is run."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from actloc import __version__, console
from actloc.command_line import completion
from actloc.command_line.arguments import (
    ChangedCode,
    Code,
    ConfigArgument,
    ConfigOrRunArgument,
    Debug,
    Json,
    Overrides,
    Overwrite,
    Quiet,
    Verbose,
)
from actloc.command_line.exit_status import run_on
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
    return app.command(name=name, cls=Command, rich_help_panel=group, epilog=lines)


def main() -> None:
    """Entry of the console script and of `python -m actloc`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 still shows every name
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
    code: Code = None,
    allow_changed_code: ChangedCode = False,
    overwrite: Overwrite = False,
) -> int:
    """Train a detector on features.

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
    code: Code = None,
) -> int:
    """Score a run, an official checkpoint or a predictions file; write metrics and predictions.

    An official checkpoint is named by a setting: evaluation.weights_file=epoch_035.pth.tar
    """
    return run_on("evaluate", config, overrides, code, predictions=predictions)


@command(
    RESULTS,
    "actloc report ckpt/sample_efficientnet_actionformer",
    "actloc report ckpt/sample_efficientnet_actionformer ckpt/seed1 --output ckpt/comparison",
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
    output: Annotated[Path | None, typer.Option(help="Folder for the report. Default: the first run's folder.")] = None,
) -> int:
    """Write tables and report.html, for one run or for several side by side."""
    from actloc.commands import report as reporting

    return reporting.run(runs, output=output)


@command(
    RESULTS,
    "actloc predict ckpt/sample_efficientnet_actionformer data/spliced_sample/videos/test_00*.mp4",
    "actloc predict ckpt/sample_efficientnet_actionformer my.mp4 --output found prediction.threshold=0.3",
)
def predict(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A trained run below ckpt/.", autocompletion=completion.runs),
    ],
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO",
            help="Video files; they need no annotations. Settings among them override those of the run.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for JSON, CSV, SRT and the timeline page.")] = Path(
        "predictions"
    ),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.KEY=VALUE", help="A setting that overrides one of the run."),
    ] = None,
    code: Code = None,
) -> int:
    """Find actions in new videos with a trained run."""
    given = [word for word in videos if re.match(r"\w+(\.\w+)+=", word) and not Path(word).exists()]
    files = [word for word in videos if word not in given]
    return run_on("predict", run, [*(settings or []), *given], code, names=files, output=output)


@command(
    RESULTS,
    "actloc explain ckpt/sample_video_swin_actionformer data/spliced_sample/videos/test_000*.mp4",
    "actloc explain ckpt/sample_video_swin_actionformer my.mp4 --label juggling_ball --output why.mp4",
    "actloc explain ckpt/sample_video_swin_actionformer my.mp4 --at 3.5 8 --fps 10",
)
def explain(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A trained run below ckpt/.", autocompletion=completion.runs),
    ],
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file; it needs no annotations.")],
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="The class to explain. Default: the best one.")
    ] = None,
    at: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="START END", help="The segment to explain, in seconds. Default: the best detection."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The layer of the encoder to look at. Default: the last one with a map."),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.5, max=60, help="Pictures per second.")] = 5.0,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .gif or .mp4 to write. Default: explanations/VIDEO.gif."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.KEY=VALUE", help="A setting that overrides one of the run."),
    ] = None,
    code: Code = None,
) -> int:
    """Show where the network looked when it found an action (Grad-CAM), on the pictures of the video.

    Writes them as a GIF or MP4, and as a contact sheet (PNG) with a curve over time. The run must have its own encoder:
    features.name=encoded.
    """
    return run_on(
        "explain",
        run,
        settings,
        code,
        video=video,
        label=label,
        at=at,
        layer=layer,
        fps=fps,
        output=output,
    )


@command(
    EXPERTS,
    "actloc import-features thumos14_i3d_actionformer data/thumos14/i3d --recipe i3d_thumos",
    "actloc import-features thumos14_i3d_actionformer data/thumos14/i3d_half features.dtype=float16",
)
def import_features(
    config: ConfigArgument,
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="The folder of the feature store to create or continue.")
    ],
    overrides: Overrides = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A name for how the features were made, stored with them. Default: the config's."
        ),
    ] = None,
    code: Code = None,
    overwrite: Overwrite = False,
) -> int:
    """Copy published feature files into a feature store, which has checksums.

    The config's source must be `folders`, which reads such files in place. The number of features of each video is
    checked against its duration. Run it again to continue where it stopped.
    """
    return run_on("import_features", config, overrides, code, store=store, recipe=recipe, overwrite=overwrite)


@command(
    EXPERTS,
    "actloc export data/spliced_sample/efficientnet_lite0 features.h5",
    "actloc export data/spliced_sample/efficientnet_lite0 features.h5 --overwrite",
    "actloc export data/spliced_sample/efficientnet_lite0 maxima.h5 --pool max",
)
def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A feature store.")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The HDF5 file to write.")],
    overwrite: Overwrite = False,
    pool: Annotated[
        Literal["max", "mean"] | None,
        typer.Option(
            help="Write one vector per video: the maximum or the mean of each channel. "
            "TSP's global video features are the maxima."
        ),
    ] = None,
) -> int:
    """Pack a feature store into one HDF5 file."""
    from actloc.commands import export as exporting

    return exporting.run(store, target, overwrite=overwrite, pool=pool)


@command(
    EXPERTS,
    "actloc compare data/ours data/published",
    "actloc compare data/ours data/published --shift 0.5 --output dimensions.csv",
)
def compare(
    first: Annotated[Path, typer.Argument(metavar="STORE", help="A feature store.")],
    second: Annotated[Path, typer.Argument(metavar="STORE", help="Another one, with features of the same videos.")],
    most_shift_s: Annotated[
        float,
        typer.Option("--shift", min=0, max=600, help="Largest shift in time to try, in seconds."),
    ] = 2.0,
    output: Annotated[
        Path | None, typer.Option(help="Write a CSV with the correlation of every dimension here.")
    ] = None,
) -> int:
    """Compare two feature stores: settings, correlation per dimension, best shift in time."""
    from actloc.commands import compare as comparing

    return comparing.run(first, second, most_shift_s=most_shift_s, output=output)


@command(
    EXPERTS,
    "actloc convert ckpt/sample_efficientnet_actionformer official.pth.tar",
    "actloc convert official.pth.tar ckpt/converted sample_efficientnet_actionformer",
)
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="An official checkpoint, or a run or checkpoint of actloc."),
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The run folder, or the official file, to write.")],
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG", help="The settings of the official checkpoint.", autocompletion=completion.configs
        ),
    ] = None,
    overrides: Overrides = None,
    code: Code = None,
) -> int:
    """Convert an official checkpoint to a run, or a run of ActionFormer to one; weights only."""
    from actloc.commands import convert as converting

    return converting.run(source, target, config, overrides, code or ())


@command(
    EXPERTS,
    "actloc verify ckpt/sample_efficientnet_actionformer",
    "actloc verify data/spliced_sample/efficientnet_lite0",
)
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A feature store, a run folder or a checkpoint.")],
) -> int:
    """Check a feature store, run or checkpoint against its own checksums."""
    from actloc.commands import verify as verifying

    return verifying.run(path)

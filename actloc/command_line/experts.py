"""Commands for experts: features of others, packed features, converted checkpoints, checksums."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from actloc.command_line import completion
from actloc.command_line.arguments import (
    Code,
    ConfigArgument,
    Overrides,
    Overwrite,
    OverwriteFiles,
    RunArgument,
    Settings,
)
from actloc.command_line.exit_status import run_on
from actloc.command_line.program import EXPERTS, command


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
    overwrite: OverwriteFiles = False,
) -> int:
    """Compare two feature stores: settings, correlations, best shift in time."""
    from actloc.commands import compare as comparing

    return comparing.run(first, second, most_shift_s=most_shift_s, output=output, overwrite=overwrite)


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
    """Convert an official checkpoint to a run, or a run of some detectors to one; weights only."""
    from actloc.commands import convert as converting

    return converting.run(source, target, config, overrides, code or ())


@command(
    EXPERTS,
    "actloc export-onnx ckpt/sample_efficientnet_actionformer detector.onnx",
    "actloc export-onnx ckpt/sample_efficientnet_actionformer encoder.onnx --encoder",
    name="export-onnx",
)
def export_onnx(
    run: RunArgument,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file to write.")],
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The length that the file is for: what the detector pads a video of N feature steps to. Default: the "
            "longest that training sees whole.",
        ),
    ] = None,
    of_encoder: Annotated[
        bool,
        typer.Option(
            "--encoder", help="Write the encoder of the run's features instead; only one that works frame by frame."
        ),
    ] = False,
    overwrite: OverwriteFiles = False,
    settings: Settings = None,
    code: Code = None,
) -> int:
    r"""Write a run's detector or encoder as ONNX, equal to torch's.

    The outputs are compared with torch's on random features before the file is kept.
    To use it: actloc predict RUN VIDEO --onnx FILE, or a program of your own. Both need actloc\[onnx].
    """
    return run_on(
        "export_onnx", run, settings, code, target=target, num_steps=steps, of_encoder=of_encoder, overwrite=overwrite
    )


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

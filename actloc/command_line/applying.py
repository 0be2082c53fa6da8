"""The commands that apply runs to new videos, `predict`, `suggest` and `explain`; those that show predictions."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from actloc.command_line import completion
from actloc.command_line.arguments import Code, OverwriteFiles, RunArgument, Settings
from actloc.command_line.exit_status import run_on
from actloc.command_line.program import RESULTS, command

Formats = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORM,FORM",
        help="Files of annotation tools to write as well, which open them as pre-annotations: label-studio, elan, "
        "boris, via, vtt, ...; json, csv and srt are always written.",
    ),
]
ToolForms = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORM,FORM",
        help="Forms of annotation tools for the pre-annotations: label-studio, elan, boris, via, csv, ...",
    ),
]
Video = Annotated[
    bool,
    typer.Option(
        "--video",
        help="Also write VIDEO_labelled.mp4: a copy with the labels of its segments and a timeline on the picture.",
    ),
]
ClipsFolder = Annotated[
    Path | None,
    typer.Option(
        "--clips",
        metavar="FOLDER",
        help="Also cut the segments that were found out of the videos, exactly to a frame; index.csv lists them.",
    ),
]
OnnxFiles = Annotated[
    list[Path] | None,
    typer.Option("--onnx", metavar="FILE", help="Use a network that `export-onnx` wrote; can be repeated."),
]


@command(
    RESULTS,
    "actloc predict ckpt/sample_efficientnet_actionformer data/spliced_sample/videos/test_00*.mp4",
    "actloc predict ckpt/sample_efficientnet_actionformer my.mp4 --output found prediction.threshold=0.3",
    "actloc predict ckpt/sample_efficientnet_actionformer data/spliced_sample/videos --shard 1/4",
    "actloc predict ckpt/sample_efficientnet_actionformer data/spliced_sample/videos --format label-studio,elan",
    "actloc predict ckpt/sample_efficientnet_actionformer my.mp4 --video --clips clips",
)
def predict(
    run: RunArgument,
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO",
            help="Video files, folders of them, or a .txt list of paths; for recognition also folders of frames. They "
            "need no annotations. Settings among them override those of the run.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for JSON, CSV, SRT and the timeline page. It keeps results of one run with the same settings."
        ),
    ] = Path("predictions"),
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Predict the I-th of N equal shares; all can run at the same time. The last one makes the summaries.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: this machine; ray: the cluster at RAY_ADDRESS, or a local one."),
    ] = "local",
    formats: Formats = "",
    video: Video = False,
    clips: ClipsFolder = None,
    onnx: OnnxFiles = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results of other runs or settings, and files of others."),
    ] = False,
    settings: Settings = None,
    code: Code = None,
) -> int:
    """Find actions in new videos with a trained run; a run of recognition names the class of each.

    Run it again to continue where it stopped, or with more videos to add them; videos that changed are done again.
    """
    given = [word for word in videos if re.match(r"\w+(\.\w+)+=", word) and not Path(word).exists()]
    return run_on(
        "predict",
        run,
        [*(settings or []), *given],
        code,
        names=[word for word in videos if word not in given],
        output=output,
        overwrite=overwrite,
        shard=shard,
        engine=engine,
        formats=formats,
        video=video,
        clips=clips,
        onnx=onnx or (),
    )


@command(
    RESULTS,
    "actloc watch ckpt/sample_efficientnet_actionformer /dev/video0",
    "actloc watch ckpt/sample_efficientnet_actionformer rtsp://camera.local/stream --every 10",
    "actloc watch ckpt/sample_efficientnet_actionformer tcp://127.0.0.1:9000 --longest-action 20 --retry-for 600",
)
def watch(
    run: RunArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file, a named pipe, a camera such as /dev/video0, tcp://HOST:PORT or rtsp://ADDRESS.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for segments.jsonl, one line for each segment.")] = Path(
        "watched"
    ),
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="How often the detector looks: shorter is sooner, and more work. Default: as `predict` does.",
        ),
    ] = None,
    longest_action: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Drop longer candidates; shorter is sooner. Default: prediction.longest_action_s, or else twice the "
            "longest action of training, of what is longer than a window.",
        ),
    ] = None,
    retry_for: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Try a lost connection again for this long, then take it as the end.",
        ),
    ] = 60.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call found.")] = False,
    settings: Settings = None,
    code: Code = None,
) -> int:
    """Find actions in live video: each as soon as nothing can change it.

    The segments are those that `predict` finds in the whole recording.
    """
    return run_on(
        "watch",
        run,
        settings,
        code,
        source=source,
        output=output,
        every_s=every,
        longest_action_s=longest_action,
        retry_s=retry_for,
        overwrite=overwrite,
    )


@command(
    RESULTS,
    "actloc suggest ckpt/sample_efficientnet_actionformer my.mp4 new_video.mp4 --minutes 10",
    "actloc suggest ckpt/sample_efficientnet_actionformer my.mp4 --window-s 60 --format elan --output next",
    "actloc suggest ckpt/sample_efficientnet_actionformer my.mp4 --dry-run",
)
def suggest(
    run: RunArgument,
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEOS",
            help="Video files, folders of them, or a .txt list of paths. Default: what is not annotated in the videos "
            "of the run's dataset. Settings among them override those of the run.",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=100_000, help="How much to annotate: the length of all windows together.")
    ] = 10.0,
    window_s: Annotated[
        float | None,
        typer.Option(
            "--window-s",
            metavar="SECONDS",
            min=1,
            max=86_400,
            help="The length of a window. Default: 30, or the longest training action.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the tables and the pre-annotations.")] = Path("suggestions"),
    formats: ToolForms = "csv",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Report the footage and what is left out, then stop; exit 2 if it is unreadable."
        ),
    ] = False,
    overwrite: OverwriteFiles = False,
    settings: Settings = None,
    code: Code = None,
) -> int:
    """Choose what to annotate next: windows of unlabelled footage.

    Much footage is like them that is not like what is annotated, they have actions of classes with few labels, and the
    run is unsure of them. Writes suggested.csv with the reasons, what the run finds there as pre-annotations, and
    annotated.csv, to be named by dataset.annotated once the windows are annotated. Videos that eval scores are never
    suggested.
    """
    words = videos or []
    given = [word for word in words if re.match(r"\w+(\.\w+)+=", word) and not Path(word).exists()]
    return run_on(
        "suggest",
        run,
        [*(settings or []), *given],
        code,
        names=[word for word in words if word not in given],
        minutes=minutes,
        window_s=window_s,
        output=output,
        formats=formats,
        dry_run=dry_run,
        overwrite=overwrite,
    )


@command(
    RESULTS,
    "actloc view ckpt/sample_efficientnet_actionformer",
    "actloc view predictions",
    "actloc view found.json my_videos --annotations labels.csv",
)
def view(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run that eval has scored, a folder that predict wrote, or a file of predictions.",
            autocompletion=completion.runs,
        ),
    ],
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEOS",
            help="Video files or folders of them. Default: those of the run's dataset, or those that predict read.",
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which results of the run, such as test or test-raw; of --annotations, which subset."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The true actions, in any form that is read: actloc ls annotation_forms"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page. 0: a free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address; otherwise, on a terminal, a browser opens it.")
    ] = False,
    code: Code = None,
) -> int:
    """Watch videos above what was found in them: a page on this machine, until Ctrl-C.

    A click on a segment seeks; a slider sets the score threshold; n and p go to the next and previous error. The page
    needs no network. What a browser cannot play, such as AVI and HEVC, is converted when you ask for it.
    """
    from actloc.commands import view as viewing

    return viewing.run(
        source,
        videos or (),
        subset=subset,
        annotations=annotations,
        port=port,
        opens_browser=not no_browser,
        code=code or (),
    )


@command(
    RESULTS,
    "actloc explain ckpt/sample_video_swin_actionformer data/spliced_sample/videos/test_000*.mp4",
    "actloc explain ckpt/sample_video_swin_actionformer my.mp4 --label juggling_ball --output why.mp4",
    "actloc explain ckpt/sample_video_swin_actionformer my.mp4 --at 3.5 8 --fps 10",
)
def explain(
    run: RunArgument,
    video: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEO", help="A video file, for recognition also a folder of frames; needs no annotations."
        ),
    ],
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
    overwrite: OverwriteFiles = False,
    settings: Settings = None,
    code: Code = None,
) -> int:
    """Show where the network looked when it found or named an action (Grad-CAM), on the pictures of the video.

    Writes them as a GIF or MP4, and as a contact sheet (PNG) with a curve over time. A run of a detector must have its
    own encoder: features.name=encoded.
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
        overwrite=overwrite,
    )


@command(
    RESULTS,
    "actloc convert-predictions ckpt/sample_efficientnet_actionformer/eval/test submission.json --form activitynet "
    "external_data=ImageNet",
    "actloc convert-predictions ckpt/sample_efficientnet_actionformer/eval/test moments.json --form ego4d-mq",
    name="convert-predictions",
)
def convert_predictions(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A run that eval has scored, a folder of its results or of predict's, or a file of predictions.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    form: Annotated[str, typer.Option(metavar="FORM", help="activitynet, epic-kitchens100, ego4d-mq or thumos14.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="What the form needs to know, such as the levels of supervision."),
    ] = None,
    code: Code = None,
    overwrite: OverwriteFiles = False,
) -> int:
    """Write predictions in the form that a challenge takes.

    EPIC-Kitchens-100 joins two runs: IN has the verbs; add nouns=ckpt/NOUNS and the levels sls_pt, sls_tl and sls_td.
    """
    from actloc.commands import convert_predictions as converting

    return converting.run(source, target, form, settings or (), code or (), overwrite=overwrite)

"""The sections of an experiment's YAML: typed, frozen, documented; nothing edits them once they are loaded."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from actloc.settings.choices import ErrorBins, ProtocolName, ReaderName
from actloc.settings.shipped import here_or_shipped

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
_RESTARTS = ("cosine_restarts",)
Result = Literal["nothing", "results", "weights", "detections", "features"]
"""What a setting changes, from the least to the most: what shapes features also shapes detections and weights.

What shapes results only may change after training: `eval` writes the results of other values beside the run's own.
"""


class Shapes:
    """Marks a setting that shapes something else than the rest of its section: `Annotated[Path, Shapes("nothing")]`.

    A run is resumed, and a store is used, only with the settings that shaped it: see `settings/sameness.py`. A setting
    that shapes weights, and results that other values may be tried for after training, names both.
    """

    def __init__(self, *what: Result) -> None:
        self.what = what


class InputPath:
    """Marks a setting that names a file or folder of the user's; `prepare` first checks that it exists."""

    def __init__(self, kind: Literal["file", "folder", "file or folder"]) -> None:
        self.kind = kind

    def exists(self, path: Path) -> bool:
        """Whether the path is there and of this kind."""
        return ("file" in self.kind and path.is_file()) or ("folder" in self.kind and path.is_dir())


ShippedPath = Annotated[Path, AfterValidator(here_or_shipped)]
InputFile = Annotated[ShippedPath, InputPath("file")]
InputFolder = Annotated[ShippedPath, InputPath("folder")]
InputFileOrFolder = Annotated[ShippedPath, InputPath("file or folder")]
OptionalInputFile = Annotated[Path | None, InputPath("file")]
OptionalInputFolder = Annotated[Path | None, InputPath("folder")]


class Section(BaseModel):
    """A block of settings. Unknown keys, wrong types and values out of bounds are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # most commands check few sections, and the others then cost nothing
    )

    shapes: ClassVar[Result]
    """What the section's settings shape, unless one is marked with `Shapes`; every section sets it."""

    chooses: ClassVar[bool] = True
    """False for a block that only says what is known, which nobody sets on the command line."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show: a block that only says what is known, and says nothing."""
        return not self.chooses and self == type(self)()


class Part(Section):
    """A block whose `name` chooses a file: `detector: {name: actionformer}` is `actloc/detectors/actionformer`."""

    guide: ClassVar[str] = ""
    """How to choose between the part's settings, for `show`; empty where their own meanings are enough."""

    replaced: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The settings, by dotted name, of a file that another one replaces when it is set on the command line."""

    name: str = ""
    """The part's file, without .py, or its folder."""

    @classmethod
    def expanded(cls, block: dict[str, Any]) -> dict[str, Any]:  # Any: not yet checked
        """The block with the settings that others of it imply written out, before it is checked; usually unchanged."""
        return block

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        # the name is written once, as the file's or folder's: a second copy in the class could only disagree
        cls.model_fields["name"].default = cls.__module__.rpartition(".")[2]


class RunSettings(Section):
    """The run's name, folder and seed."""

    shapes = "nothing"

    name: str
    """The run's folder below `folder`. Default: the settings file's own name."""
    folder: Path = Path("ckpt")
    """The folder that holds the runs."""
    seed: Annotated[int, Field(ge=0, lt=2**63), Shapes("weights")] = 0
    """Seed of initial weights, order of samples, crops and dropout."""

    @model_validator(mode="after")
    def _is_a_folders_name(self) -> "RunSettings":
        if not re.fullmatch(r"\w[\w.+ -]*", self.name):
            raise ValueError(f"name: found {self.name!r}, expected letters, digits, spaces and . _ + - only")
        return self


class PreparationSettings(Section):
    """What `prepare` does with the videos; ffmpeg re-encodes them and writes JPEG frames."""

    shapes = "detections"

    videos: Literal["keep", "reencode", "frames", "png"] = "keep"
    """Read the videos as they are, re-encode them at a constant rate, or store them as JPEG frames. png: store every
    frame as it is read, at its own size and rate, so that reading is faster at random places and gives the same."""
    fps: PositiveFloat | Literal["native"] = 30.0
    """Frames per second of re-encoded videos and of stored frames; native: each video's own rate."""
    most_frames: PositiveInt | None = None
    """Lower the rate of a video that would have more frames than this, so that it has as many; null: no limit."""
    short_side: PositiveInt = 256
    """Pixels of the short side of re-encoded videos and of stored frames."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width in pixels, instead of `short_side`; the aspect ratio is not kept. null: as short_side says."""
    keyframe_interval: PositiveInt = 30
    """Frames from one key frame to the next in re-encoded videos."""
    jpeg_quality: Annotated[int, Field(ge=2, le=31)] = 2
    """ffmpeg's scale for stored frames: 2 is the best."""

    @model_validator(mode="after")
    def _have_an_effect(self) -> "PreparationSettings":
        unused = {"keep": ("most_frames", "size"), "png": ("fps", "most_frames", "short_side", "size")}
        for name in unused.get(self.videos, ()):
            if getattr(self, name) != type(self).model_fields[name].default:
                found = f"preparation.videos is {self.videos}"
                raise ValueError(f"{name}: has no effect because {found}; set reencode or frames")
        if self.size is not None and self.short_side != type(self).model_fields["short_side"].default:
            raise ValueError(f"short_side: found {self.short_side}, which has no effect because size is set")
        if self.videos == "reencode" and any(side % 2 for side in self.size or ()):
            raise ValueError(f"size: found {list(self.size or ())}, expected even numbers, which H.264 needs")
        return self


class OptimizerSettings(Section):
    """The optimizer and its learning rate."""

    shapes = "weights"

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW or Adam with betas 0.9 and 0.999, or SGD with `momentum`. Decay is a part of the gradient in Adam and SGD,
    and apart from it in AdamW."""
    learning_rate: PositiveFloat = 1e-4
    """The rate after warm-up."""
    weight_decay: NonNegativeFloat = 0.05
    """Decay of the weights that `decays` chooses."""
    decays: Literal["weights", "all"] = "weights"
    """weights: those of convolutions and linear layers decay; all: biases, norms, scales and tables decay too."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    clip_norm: NonNegativeFloat = 1.0
    """Largest L2 norm of all gradients together; 0: no clipping."""


class ScheduleSettings(Section):
    """How long to train, and the learning rate on the way: linear warm-up from 0, then what `name` says."""

    shapes = "weights"

    name: Literal["cosine", "cosine_by_epoch", "cosine_restarts", "multistep"] = "cosine"
    """cosine: half a cosine down to 1e-8, or to 0 if there is no warm-up, or to `lowest_share`; cosine_by_epoch: half a
    cosine down to 0 that changes once in an epoch; cosine_restarts: the same every `restart_epochs`, down to
    `lowest_share`, 0.01 if it is null; multistep: drops at `milestones`."""
    epochs: PositiveInt = 30
    """Epochs after warm-up; `warmup_epochs` are added to them."""
    warmup_epochs: NonNegativeInt = 5
    """Epochs of linear warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps in which the rate that `name` gives is multiplied by a factor that grows evenly from `warmup_share` to 1.
    They are part of `epochs`, and need warmup_epochs=0."""
    warmup_first_epochs: NonNegativeFloat = 0.0
    """warmup_steps, counted in epochs: 2.5 for the steps of the first two and a half."""
    warmup_share: OpenFraction | None = None
    """warmup_steps and warmup_first_epochs: the first factor; null: 0.1."""
    stop_after_epochs: PositiveInt | None = None
    """Stop after this many epochs, warm-up included, with the learning rates of the whole schedule; null: train all."""
    milestones: tuple[PositiveInt, ...] = ()
    """multistep: epochs after warm-up from which the rate is multiplied by `gamma`, once for each."""
    gamma: PositiveFloat = 0.1
    """multistep: the factor of each milestone."""
    restart_epochs: PositiveInt | None = None
    """cosine_restarts: epochs from one start at the full rate to the next. The rate changes once in an epoch."""
    lowest_share: Fraction | None = None
    """cosine and cosine_restarts: the share of the full rate that a cosine falls towards; null: as `name` says."""

    @model_validator(mode="after")
    def _settings_are_used(self) -> "ScheduleSettings":
        if self.milestones and self.name != "multistep":
            raise ValueError(f"milestones: schedule.name={self.name} does not use them; set schedule.name=multistep")
        for setting, users in {"restart_epochs": _RESTARTS, "lowest_share": ("cosine", *_RESTARTS)}.items():
            if getattr(self, setting) is not None and self.name not in users:
                raise ValueError(f"{setting}: schedule.name={self.name} does not use it; set schedule.name={users[-1]}")
        if self.name == "cosine_restarts" and self.restart_epochs is None:
            raise ValueError("restart_epochs: schedule.name=cosine_restarts needs the epochs between two restarts")
        warm_ups = [one for one in ("warmup_steps", "warmup_first_epochs", "warmup_epochs") if getattr(self, one)]
        if len(warm_ups) > 1:
            found = " and ".join(f"{one} is {getattr(self, one):g}" for one in warm_ups)
            others = "the other" if len(warm_ups) == 2 else "the others"
            raise ValueError(f"{found}: expected one of them; set {others} to 0")
        if self.warmup_share is not None and not (self.warmup_steps or self.warmup_first_epochs):
            raise ValueError("warmup_share: it is used only with warmup_steps or warmup_first_epochs above 0")
        if self.warmup_first_epochs > self.epochs:
            raise ValueError(
                f"warmup_first_epochs: found {self.warmup_first_epochs:g}, expected at most the {self.epochs} of epochs"
            )
        return self


class AverageSettings(Section):
    """The exponential moving average of the weights, which evaluation and prediction use."""

    shapes = "weights"

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Weight of the old average at each step."""
    warm_up: bool = True
    """decay = min(decay, (1 + step) / (10 + step)); false: ActionFormer's fixed decay, for long schedules."""


class TrainingSettings(Section):
    """Batches, precision, validation and checkpoints."""

    shapes = "weights"

    initialise: Path | None = None
    """Start a new run from the weights of another one, of a checkpoint or of an official file, as far as they fit: also
    with other classes, of which those of the same name are taken. Of a run they are the averaged weights, or with
    evaluation.weights=raw the last ones. null: start anew."""
    batch_size: PositiveInt = 2
    """Videos in one forward and backward pass."""
    accumulate: PositiveInt = 1
    """Passes per optimizer step: 4 of 2 videos equal one of 8, unless batch norms learn in each (TANet, DualFormer)."""
    precision: Annotated[Literal["float32", "bfloat16", "float16"], Shapes("weights", "results")] = "float32"
    """Precision of matrix products and convolutions, in training and detection; the rest is float32. It applies to the
    detector, and to an encoder that is trained with it. float16 needs a GPU."""
    validation_subset: str | None = None
    """A subset to score during training, to keep the best checkpoint; null: the last one is used as the best."""
    validate_every_epochs: PositiveInt = 5
    """Epochs from one validation to the next."""
    checkpoint_every_epochs: PositiveInt = 1
    """Epochs from one checkpoint to the next."""


class ScoredWeights(Section):
    """Which weights of a run are scored."""

    shapes = "results"

    weights: Literal["averaged", "raw"] = "averaged"
    """Score the averaged weights or the last raw ones."""
    checkpoint: Literal["last", "best"] = "last"
    """Score the last checkpoint, or the best on training.validation_subset; choosing on the subset that is scored
    gives too good results."""


class EvaluationSettings(ScoredWeights):
    """How predictions are scored."""

    protocol: ProtocolName = "actionformer"
    """Whose rules to apply: ActionFormer's (with its label collisions: only to compare with its code), ActivityNet's,
    QVHighlights', or THUMOS14's with or without its Ambiguous intervals."""
    tious: Annotated[tuple[OpenFraction, ...], Field(min_length=1)] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Temporal intersection over union at which a prediction counts as found; their mean is the average mAP."""
    weights_file: Annotated[Path | None, Shapes("nothing")] = None
    """Score this official checkpoint of the detector (ActionFormer's .pth.tar; TALLFormer's, AFSD's, BMN's, ETAD's
    or TadTR's), with classes numbered as in the annotations; null: score the run."""
    threshold_tiou: OpenFraction = 0.5
    """Temporal IoU at which `eval` finds the score threshold of best F1 for each class."""
    recall_at: Annotated[tuple[PositiveInt, ...], Shapes("nothing")] = ()
    """Also measure Recall@kx for these k: the truth that the best k * n predictions of a class overlap in a video with
    n true actions of it; EPIC-Kitchens and Ego4D report [1, 5]."""
    average_recall_at: Annotated[tuple[PositiveInt, ...], Shapes("nothing")] = ()
    """Also measure AR@N, the recall of the best N segments of a video whatever their classes, for these N, and AUC, the
    area under its curve up to the largest; proposals on ActivityNet are reported with [1, 5, 10, 100]."""
    error_bins: Annotated[ErrorBins | None, Shapes("nothing")] = None
    """Ranges of coverage, length and instances in the error analysis; null: the dataset's own, else quintiles."""


class PredictionSettings(Section):
    """What `predict` prints and writes."""

    shapes = "nothing"

    threshold: Literal["best_f1"] | Fraction = "best_f1"
    """Leave out segments below this score; best_f1 uses, per class, the threshold `eval` stored in the run."""
    longest_action_s: PositiveFloat | None = None
    """Drop longer candidates; null: in videos longer than a window, those of twice the longest action of training."""


def _as_text(value: Any) -> Any:  # Any: not yet checked
    """A number as text, so that the message of `machine.device=0` names what is expected."""
    return str(value) if isinstance(value, int) else value


class MachineSettings(Section):
    """Settings that do not change a result: a run can be resumed on another machine with other values."""

    shapes = "nothing"

    device: Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:1."""
    num_workers: NonNegativeInt = 1
    """Threads that load features or clips ahead of the training step; for clips, also processes that decode them."""
    decoders: PositiveInt | None = None
    """Videos decoded at the same time, each in a process of about 100 MB that decodes 32 MB ahead; null: one less than
    the number of cores, at least 1 and at most 16."""
    clip_batch: PositiveInt | None = None
    """Clips per batch of the encoder; null: 32 on a GPU, the encoder's default on a CPU."""
    reader: ReaderName = "pyav"
    """What decodes videos. decord is for comparison and needs actloc[decord]: correct on files of constant rate with
    closed groups of pictures, it repeats frames of cut files (edit lists) and is wrong on open groups, MPEG-TS and AVI;
    it is rewound after each batch, which bounds its memory and costs time."""
    decode_timeout_s: PositiveFloat = 30.0
    """Give up on a video after this many seconds without a frame."""

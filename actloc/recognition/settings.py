"""The sections of the settings that only recognition has. Nothing here imports torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from actloc.recognition.sampling import Sampling, SamplingRule
from actloc.settings.parts import Chosen
from actloc.settings.sections import Fraction, Part, ScoredWeights, Section, Shapes
from actloc.video.augmentation_settings import Augmentation


class NetworkSettings(Section):
    """The classifier after the encoder, what both start from, and how they learn."""

    shapes = "weights"

    start: Literal["file", "random"] = "file"
    """The encoder's first weights. file: as clips.encoder says; random: drawn from run.seed, the file is not needed."""
    classifier: Literal["new", "file"] = "new"
    """The classifier's first weights. new: drawn from run.seed; file: those in the encoder's file, which must be of the
    same classes in the same order."""
    dropout: Fraction = 0.5
    """Share of the features that training drops before the classifier."""
    groups: Literal["usual", "published", "published_continued"] = "usual"
    """Learning rates and decays of the weights. usual: as optimizer.decays and clips.encoder say; published: as
    in the training of TAM, where linear layers learn five times as fast, or of DualFormer, where the encoder learns at
    a tenth of the rate but for its positions; published_continued: the same, where training goes on with the classes of
    the weights."""
    partial_batch_norm: bool = False
    """Keep all 2-D batch norms as they are, except the first (TSN)."""
    checkpoint_blocks: Annotated[bool, Shapes("nothing")] = False
    """Recompute the activations of the encoder's blocks in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _classifier_is_in_a_file(self) -> Self:
        if self.start == "random" and self.classifier == "file":
            raise ValueError("classifier: found file, expected new, because network.start=random reads no file")
        return self


class ClipSettings(Augmentation):
    """The network's encoder, which frames of a labelled clip it gets in training, and what is drawn for them."""

    shapes = "weights"

    encoder: Annotated[Part, Chosen("encoders")]
    """The network that turns clips into features."""
    sampling: SamplingRule = "uniform"
    """dense: at a stride of 64 divided by the frames, from a random place (TAM on Kinetics); uniform: one of each of as
    many equal segments (TAM on Something-Something); interval: every `interval`-th from a random place (DualFormer)."""
    frames: PositiveInt | None = None
    """Frames of a clip; null: as many as the encoder takes, if its settings say so."""
    interval: PositiveInt = 1
    """interval: frames from one to the next."""
    allow_missing: Annotated[bool, Shapes("nothing")] = False
    """Continue without the videos that cannot be decoded; they are named."""

    @model_validator(mode="after")
    def _interval_is_used(self) -> Self:
        if self.interval != 1 and self.sampling != "interval":
            raise ValueError(
                f"interval: found {self.interval}, which has no effect with clips.sampling={self.sampling}"
            )
        return self

    def sampler(self, exact_frames: int | None) -> Sampling:
        """The rule for clips of an encoder that takes so many frames, or any number."""
        frames = self.frames or exact_frames
        assert frames is not None, "it was checked"
        return Sampling(self.sampling, frames, self.interval)


class TokenLabelSettings(Section):
    """A trained recogniser that labels the tokens of each training clip, and how the network learns from it."""

    shapes = "weights"

    annotator: Annotated[Part | None, Chosen("encoders")] = None
    """The recogniser that labels: an encoder whose `weights` have a classifier of the same classes in the same order.
    It sees the network's own augmented clip; only its scaling of pixels is its own. null: no token labels."""
    top_k: PositiveInt = 5
    """A token's label keeps this many of the annotator's highest scores before softmax, with ties; the other scores
    become 0."""
    weight: Fraction = 0.5
    """Share of the loss that the tokens have; the rest is that of the clip."""
    average_frames: Literal["neighbours", "apart"] = "neighbours"
    """Which scores are averaged where the annotator has several frames of tokens for one of the network: neighbours; or
    frames that are as far apart as the network has frames, as in the official code. Unproven: no published run had
    several, and there is nothing to compare with."""
    annotator_in_training_mode: bool = False
    """Run the annotator with dropout, stochastic depth and the statistics of each batch, as the official code does."""

    @model_validator(mode="after")
    def _others_have_an_annotator(self) -> Self:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if self.annotator is None and value != field.default:
                raise ValueError(f"{name}: found {value}, which has no effect without token_labels.annotator")
        return self


class RecognitionEvaluationSettings(ScoredWeights):
    """How clips are scored: the views of each, and what is averaged."""

    clips: PositiveInt = 1
    """Clips of a video, at evenly spread places: 10 for TAM on Kinetics, 4 for DualFormer."""
    crops: Literal["centre", "three_across", "three_along"] = "centre"
    """Parts of each frame: the encoder's crop in the centre; three_across: left, right and centre, at the middle of the
    height (TAM); three_along: three along the longer side (DualFormer)."""
    short_side: PositiveInt | None = None
    """Pixels of the short side after resizing; null: as the encoder says."""
    crop: PositiveInt | None = None
    """Side of a crop in pixels; null: as the encoder says. As large as short_side for crops at full resolution."""
    average: Literal["probabilities", "logits"] = "probabilities"
    """What is averaged over views: probabilities (DualFormer), or scores before softmax (TAM)."""
    weights_file: Annotated[Path | None, Shapes("nothing")] = None
    """Score this official checkpoint of the encoder, with classes numbered as in the annotations; null: score the
    run."""
    window_s: Annotated[PositiveFloat | None, Shapes("nothing")] = None
    """--save-scores: seconds of the windows that cover untrimmed videos; null: the span of a clip, 64 frames for
    uniform sampling. A window of several spans is scored by as many clips, rounded; uniform sampling needs one."""
    window_overlap: Annotated[float, Field(ge=0, lt=1), Shapes("nothing")] = 0.5
    """--save-scores: share of a window that the next one covers too."""
    best_windows: Annotated[PositiveInt, Shapes("nothing")] = 3
    """--save-scores: a video's score of a class is the mean of this many of its windows' highest scores: most of an
    untrimmed video shows none of its classes."""


class RecognitionPredictionSettings(Section):
    """What `predict` prints and writes."""

    shapes = "nothing"

    top_k: PositiveInt = 5
    """Classes named of each video, best first."""

"""Models in the form of Hugging Face transformers: VideoMAE, V-JEPA 2, TimeSformer, ViViT, DINOv3, SigLIP 2, CLIP.

Video models take clips; models of pictures take frames, whose vectors are averaged over the clip. Frames are prepared
here, from the values of the model's processor file.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from actloc import console
from actloc.encoders.base import EncoderConfig
from actloc.encoders.huggingface import model_folder, preprocessing
from actloc.encoders.huggingface.families import Pooling
from actloc.encoders.huggingface.model_folder import ModelFolder
from actloc.errors import UserError
from actloc.settings.sections import Shapes
from actloc.video.frame_transforms import FrameStep

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.huggingface.network import HuggingFace


class Config(EncoderConfig):
    """Settings of models in transformers' form (pip install "actloc[hf]")."""

    model: Annotated[str, Field(min_length=1), Shapes("nothing")]
    """A folder with config.json, a processor's file and .safetensors, or the name of a model on the hub, such as
    ORGANISATION/NAME. Features record the sha256 of its files, and of the hub also the commit."""
    revision: Annotated[str | None, Shapes("nothing")] = None
    """Branch, tag or commit on the hub; null: its main branch, or a folder."""
    allow_download: Annotated[bool, Shapes("nothing")] = False
    """Whether a model that is not on this machine may be downloaded from the hub. Code in it is never run."""
    pooling: Pooling | None = None
    """How tokens become a vector. mean: of all tokens of the pictures; cls: the first token; pooler: the model's own
    pooling, of VideoMAE (a norm) and V-JEPA 2 (attention) only where it has a classifier. null: what the classifier of
    the weights takes, else mean for VideoMAE and V-JEPA 2, cls for TimeSformer, ViViT and DINOv3, and pooler for
    SigLIP 2 and CLIP."""
    keep_time: bool = False
    """A vector for each step of time of a clip, not one for all: for each pair of frames of V-JEPA 2, for each frame of
    a model of pictures. Video models need pooling=mean."""

    def folder(self, *, may_download: bool = False) -> ModelFolder:
        """The folder of the model; raises UserError if it is not on this machine."""
        return model_folder.found(self.model, self.revision, may_download=may_download)

    def _folder_if_there(self) -> ModelFolder | None:
        try:
            return self.folder()
        except UserError:  # which the commands that need it report: settings without it can be shown and changed
            return None

    @model_validator(mode="after")
    def _fit_the_model(self) -> Self:
        folder = self._folder_if_there()
        if folder is None:
            return self
        family, config = folder.family, folder.config
        chosen = self.pooling_of(folder)
        of_classifier = chosen == "pooler" and family.classifies == "pooler"
        if chosen not in family.pools or (of_classifier and not folder.has_classifier):
            without = "" if chosen not in family.pools else " without a classifier"
            has = [one for one in family.pools if not without or one != "pooler"]
            raise ValueError(
                f"pooling: found {chosen}, which {family.title}{without} does not have; expected one of "
                f"{', '.join(has)}"
            )
        if self.keep_time and family.is_video and chosen != "mean":
            raise ValueError(f"keep_time: found true with pooling {chosen}, which has no time; set pooling=mean")
        steps = self.frame_steps()
        if family.side_key is not None:
            takes = family.vision(config).get(family.side_key, 224)
            takes = tuple(takes) if isinstance(takes, list) else (takes, takes)
            made = preprocessing.side(steps)
            if made != takes:
                size = "frames of any shape" if made is None else f"frames of {made[0]} x {made[1]}"
                raise ValueError(
                    f"model: its processor makes {size}, and {family.title} takes {takes[0]} x {takes[1]}; "
                    "correct size or crop_size in a copy of its preprocessor_config.json"
                )
        if config.get("attention_type") == "space_only":
            raise ValueError("model: found attention_type space_only, expected one over space and time")
        return self

    def pooling_of(self, folder: ModelFolder) -> Pooling:
        """The pooling that is set, or the model's usual one."""
        if self.pooling is not None:
            return self.pooling
        return folder.family.classifies if folder.has_classifier else folder.family.pools[0]

    @property
    def about_files(self) -> str:
        """Family, channels and bytes of weights of a model that is there; else empty."""
        folder = self._folder_if_there()
        if folder is None:
            return ""
        about = f"a {folder.family.title} of {folder.family.vision(folder.config).get('hidden_size')} channels"
        try:
            num_bytes = sum(file.stat().st_size for file in folder.weights())
        except UserError:
            return f"{about}, without weights"
        return f"{about}, {console.size(num_bytes)} of weights"

    @property
    def exact_frames(self) -> int | None:
        """The number of frames of a model with a position for each; None for others, or where it is not there."""
        folder = self._folder_if_there()
        key = None if folder is None else folder.family.frames_key
        return (
            None if folder is None or key is None else int(folder.config.get(key, _FRAMES[folder.config["model_type"]]))
        )

    @property
    def clip_multiple(self) -> int:
        """Frames of a token."""
        folder = self._folder_if_there()
        return 1 if folder is None else folder.family.patch(folder.config)[0]

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """The steps of the model's processor before pixels are scaled; raises UserError if there is none."""
        folder = self.folder()
        return preprocessing.frame_steps(folder.processor, folder.family)

    def weights_files(self) -> list[Path]:
        """The files of the model, downloaded where that is allowed; raises UserError with what is missing."""
        model_folder.require_installed()
        folder = self.folder(may_download=self.allow_download)
        folder.require_supported()
        return folder.all_files()

    def build(self) -> HuggingFace:
        """The encoder with its weights, and their classifier if they have one; raises UserError."""
        from actloc.encoders.huggingface.network import loaded

        self.weights_files()
        return loaded(self).eval()

    def network(self) -> HuggingFace:
        """The encoder with random weights."""
        return self._drawn()

    def network_for(self, weights: Mapping[str, Tensor]) -> HuggingFace:
        """The encoder with random weights, and a classifier if these have one."""
        return self._drawn(keeps_classifier="classifier.weight" in weights)

    def _drawn(self, *, keeps_classifier: bool = True) -> HuggingFace:
        model_folder.require_installed()
        from actloc.encoders.huggingface.network import drawn

        return drawn(self, keeps_classifier=keeps_classifier)

    def for_checkpoint(self, file: Path) -> Self:
        """These settings for the folder of this file of weights."""
        values = self.model_dump() | {"model": str(file.parent), "revision": None}
        return type(self).model_validate(values)

    @classmethod
    def small(cls) -> Config:
        """A tiny V-JEPA 2, whose settings are a part of actloc."""
        return cls(model=str(Path(__file__).with_name("small")))


_FRAMES: dict[str, Any] = {"videomae": 16, "timesformer": 8, "vivit": 32}
"""What transformers takes for a number of frames that config.json leaves out."""

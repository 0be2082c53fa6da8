"""R(2+1)D-34, R(2+1)D-18 and R3D-18, with weights of TSP, TAC, IG-65M or torchvision.

Residual networks over clips, with 3-D convolutions, full (R3D) or split into space and time (Tran et al. 2018,
arXiv 1711.11248). TSP and TAC: Alwassel et al. 2021 (arXiv 2011.11479). IG-65M: Ghadiyaram et al. 2019.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator

from actloc.encoders.base import PublishedConfig
from actloc.errors import UserError
from actloc.files import sha256_of_bytes, sha256_of_file
from actloc.settings.sections import OptionalInputFile, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.r2plus1d.network import R2Plus1D

WIDTHS = (64, 64, 128, 256, 512)  # of the stem, then of the four layers
FEATURES = WIDTHS[-1]
_FRAME_SIZE, _CROP = (128, 171), 112
_KINETICS_CLASSES = 400

PUBLISHED = {
    "r2plus1d_34": PublishedFile(
        "r2plus1d_34-tsp_on_activitynet-max_gvf-backbone_lr_0.0001-fc_lr_0.002-epoch_5-0d2cf854.pth",
        "github.com/HumamAlwassel/TSP, release model_weights, where also those for THUMOS14 are; "
        "IG-65M's is r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth of github.com/moabitcoin/ig65m-pytorch",
        "255 MB of weights",
    ),
    "r2plus1d_18": PublishedFile(
        "r2plus1d_18-91a641e6.pth", "torchvision as R2Plus1D_18_Weights.KINETICS400_V1", "126 MB"
    ),
    "r3d_18": PublishedFile("r3d_18-b3b3357e.pth", "torchvision as R3D_18_Weights.KINETICS400_V1", "134 MB"),
}


class Config(PublishedConfig):
    """Settings of the residual networks that TSP was trained with."""

    variant: Literal["r2plus1d_34", "r2plus1d_18", "r3d_18"] = "r2plus1d_34"
    """Network to use; its weights may be those of TSP or TAC, or the Kinetics weights that both start from."""
    output: Literal["features", "action", "region"] = "features"
    """Contents of a row. features: 512 features; action: class scores of the weights' classifier, before a softmax;
    region: scores of TSP's region head for `Action`, then `No action`, before a softmax."""
    global_features: Annotated[OptionalInputFile, Shapes("nothing")] = None
    """TSP's global video features, for output: region with weights that were trained with them: an HDF5 file of 512
    numbers per video under its name, as `actloc export STORE FILE --pool max` writes it; null for other weights."""

    @model_validator(mode="after")
    def _global_features_have_a_use(self) -> Self:
        if self.global_features is not None and self.output != "region":
            raise ValueError(f"global_features need output: region, but output is {self.output}")
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes the whole frame to 128 x 171, ignoring its aspect ratio, then crops the centre."""
        return Resize("bilinear", size=_FRAME_SIZE), Crop(_CROP, "round")

    def network(self, num_classes: int | None = _KINETICS_CLASSES) -> R2Plus1D:
        """The encoder with random weights, and a classifier if there are classes."""
        from actloc.encoders.r2plus1d.network import R2Plus1D

        return R2Plus1D(self, num_classes)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place."""
        return [published.locate(self.weights, PUBLISHED[self.variant])]

    def build(self) -> R2Plus1D:
        """The encoder with published weights and the classifiers that it needs; raises UserError if they do not fit."""
        from actloc.encoders.base_network import load_into

        (path,) = self.weights_files()
        tensors = in_torchvisions_names(published.read(path), with_region=self.output == "region")
        if self.output == "region":
            self._check_region_head(tensors, path)
        network = self.network(_num_classes(tensors, _KINETICS_CLASSES))
        load_into(network, tensors, path)
        if self.global_features is not None:
            digests = network.weights_sha256, sha256_of_file(self.global_features)
            network.weights_sha256 = sha256_of_bytes("".join(map(str, digests)).encode())
        return network.eval()

    def network_for(self, weights: Mapping[str, Tensor]) -> R2Plus1D:
        """The encoder with random weights and a classifier of as many classes as that of these.

        Where they have none, there is none unless its scores are the output.
        """
        return self.network(_num_classes(weights, None if self.output == "features" else _KINETICS_CLASSES))

    def _check_region_head(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Raises UserError if the head needs global features and none are set, or the other way round."""
        inputs = tensors["fc2.weight"].shape[-1] if "fc2.weight" in tensors else None
        if inputs == 2 * FEATURES and self.global_features is None:
            raise UserError(
                f"The region head in {path} needs global video features; features.encoder.global_features is null.",
                "Expected TSP's file of them, such as r2plus1d_34-max_gvf.h5, or your own.",
                "Set features.encoder.global_features=FILE. Or extract features with the weights that TSP started "
                "from, then run: actloc export STORE FILE --pool max",
            )
        if inputs == FEATURES and self.global_features is not None:
            raise UserError(
                f"The region head in {path} takes no global features, but {self.global_features} is set.",
                "Expected a file of weights with max_gvf in its name, or no global features.",
                "Set features.encoder.global_features=null",
            )

    @classmethod
    def small(cls) -> Config:
        """The fewest layers."""
        return cls(variant="r2plus1d_18")


def _num_classes(weights: Mapping[str, Tensor], otherwise: int | None) -> int | None:
    return len(weights["fc.weight"]) if "fc.weight" in weights else otherwise


def in_torchvisions_names(tensors: dict[str, Tensor], *, with_region: bool) -> dict[str, Tensor]:
    """TSP's and TAC's tensors under torchvision's names; the head that tells actions from background only if wanted."""
    plain = {name.removeprefix("features."): tensor for name, tensor in tensors.items()}
    wanted = {name: tensor for name, tensor in plain.items() if with_region or not name.startswith("fc2.")}
    return {name.replace("fc1.", "fc."): tensor for name, tensor in wanted.items()}

"""The network that names the class of a clip: an encoder of clips, dropout and one linear layer."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from actloc import console, files
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32
from actloc.training import modules
from actloc.training.modules import ENCODER, Modules, TrainedModule

CLASSIFIER = "classifier"
Groups = Literal["usual", "published", "published_continued"]
"""How weights learn. usual: see `training.optimizer.parameter_groups`; published: as the encoder's authors trained it;
published_continued: the same, where they went on with the classes of the weights."""


class Recognizer(nn.Module):
    """Class scores of clips: the mean of what the linear layer makes of each vector of the encoder.

    Without dropout that equals its scores of the mean vector. With dropout it is TANet's consensus if the encoder makes
    a vector for each frame, and DualFormer's head if it makes one for the clip: their `mode` is token or clip.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        classifier: nn.Linear,
        *,
        dropout: float = 0.5,
        partial_batch_norm: bool = False,
    ) -> None:
        """Gives gradients to what the encoder's settings let learn; published networks have a dropout of 0.5.

        With `partial_batch_norm` only the first 2-D batch norm learns. Raises UserError for an encoder that cannot
        recognise clips, or has no 2-D batch norms.
        """
        super().__init__()
        if encoder.config.mixes_clips or encoder.makes_frames:
            why = "mixes neighbouring clips" if encoder.config.mixes_clips else "computes frames of the whole video"
            raise UserError(
                f"The encoder {encoder.config.name} {why} with these settings.",
                "Expected one that sees each clip by itself.",
                "Remove adapters or flow from clips.encoder, or choose another encoder: actloc ls encoders",
            )
        encoder.set_trainable(encoder.config.trainable)
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier
        self._fixed_norms = _fix_batch_norms(encoder) if partial_batch_norm else []
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        """Class scores (S, K) before softmax of clips (S, F, H, W, 3), of the pictures that `encode` takes."""
        return self.classify(self.encoder.encode(clips))

    def classify(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v)."""
        return at_least_float32(self.classifier(self.dropout(features.mT))).mean(1)

    def train(self, mode: bool = True) -> Self:
        """In training, blocks that learn drop branches and their batch norms learn statistics; others stay as they are.

        Norms that `partial_batch_norm` fixes keep their statistics too.
        """
        super().train(mode)
        self.encoder.eval()
        for block in [block for stage in self.encoder.stages() for block in stage]:
            block.train(mode and any(weight.requires_grad for weight in block.parameters()))
        for norm in self._fixed_norms:
            norm.eval()
        self.encoder.drop_branches(mode)
        return self

    def trained_modules(self, groups: Groups) -> Modules:
        """What a run trains and stores: encoder and classifier; raises UserError if the groups are not known."""
        factors, settings = None, self.encoder.config
        if groups != "usual":
            factors = self.encoder.published_factors(is_continued=groups == "published_continued")
            if factors is None:
                raise UserError(
                    f"network.groups is {groups}, and the encoder is {settings.name}.",
                    "Expected tanet or dualformer, whose published training has groups of its own.",
                    "Set network.groups=usual",
                )
        of_classifier = factors and {part: factors[f"{CLASSIFIER}.{part}"] for part in ("weight", "bias")}
        return {
            ENCODER: TrainedModule(self.encoder, settings.rate_factor, settings.weight_decay, factors=factors),
            CLASSIFIER: TrainedModule(self.classifier, factors=of_classifier),
        }

    def write_published(self, path: Path) -> None:
        """Writes all weights as the encoder's authors do, for its setting `weights`; raises UserError if unknown."""
        name = self.encoder.classifier_name
        own = {f"{name}.{part}": tensor for part, tensor in self.classifier.state_dict().items()}
        tensors = self.encoder.config.in_published_names(self.encoder.state_dict() | own)
        stream = io.BytesIO()
        torch.save({"state_dict": {name: tensor.detach().cpu() for name, tensor in tensors.items()}}, stream)
        files.write_bytes(path, stream.getvalue())


def new_classifier(encoder: ClipEncoder, num_classes: int) -> nn.Linear:
    """A classifier drawn from torch's generator, as the encoder's authors start theirs; the encoder loses its own."""
    _take_classifier(encoder)
    classifier = nn.Linear(encoder.channels, num_classes)
    nn.init.normal_(classifier.weight, std=encoder.classifier_std)
    nn.init.zeros_(classifier.bias)
    return classifier


def published_classifier(
    encoder: ClipEncoder, num_classes: int, otherwise: str = "", classes: Sequence[str] = ()
) -> nn.Linear:
    """The classifier of the encoder's weights file, which the encoder loses.

    Where the weights name their classes, those of `classes` are taken, in that order. Raises UserError if it has none,
    or not one for so many classes; `otherwise` says what else could be done.
    """
    classifier = _take_classifier(encoder)
    if classifier is not None and encoder.class_names is not None and classes:
        classifier = _of_classes(classifier, encoder.class_names, classes, otherwise)
    if classifier is None or classifier.out_features != num_classes:
        found = "no classifier" if classifier is None else f"a classifier of {_classes(classifier.out_features)}"
        raise UserError(
            f"The weights of features.encoder, which is {encoder.config.name}, have {found}.",
            f"Expected a classifier of {_classes(num_classes)}, those of the annotations.",
            f"Choose weights of these classes, in the same order{otherwise}",
        )
    return classifier


def _take_classifier(encoder: ClipEncoder) -> nn.Linear | None:
    """Removes the linear layer that makes the encoder's class scores and returns it; None if there is none."""
    name = encoder.classifier_name or ""
    holder = name.partition(".")[0]
    if holder not in encoder._modules:
        return None
    layer = encoder.get_submodule(name)
    assert isinstance(layer, nn.Linear), f"{name} is {layer}"
    del encoder._modules[holder]
    return layer


def restored(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> tuple[ClipEncoder, nn.Linear]:
    """The encoder and the classifier of a run's weights, named as `trained_modules` names them."""
    of_encoder, of_classifier = (modules.of_module(tensors, name) for name in (ENCODER, CLASSIFIER))
    encoder = config.network_for(of_encoder)
    encoder.load_state_dict(of_encoder)
    num_classes, channels = of_classifier["weight"].shape
    classifier = nn.Linear(channels, num_classes)
    classifier.load_state_dict(of_classifier)
    return encoder, classifier


def _of_classes(classifier: nn.Linear, named: Sequence[str], wanted: Sequence[str], otherwise: str) -> nn.Linear:
    """The rows of the wanted classes, by name; raises UserError for a class that has no row."""
    missing = [name for name in wanted if name not in named]
    if missing:
        raise UserError(
            f"The classifier of features.encoder has no class named {console.first_ten(missing)}.",
            f"Expected the classes of the annotations among its own: {console.first_ten(named)}.",
            f"Rename the classes of the annotations, or choose weights of these classes{otherwise}",
        )
    rows = [list(named).index(name) for name in wanted]
    chosen = nn.Linear(classifier.in_features, len(rows))
    chosen.load_state_dict({key: one[rows] for key, one in classifier.state_dict().items()})
    return chosen


def _classes(number: int) -> str:
    return console.count(number, "class", "classes")


def _fix_batch_norms(encoder: ClipEncoder) -> list[nn.BatchNorm2d]:
    """Takes the gradient from all batch norms but the first; returns the 2-D ones, which also keep their statistics.

    (TSN's partial batch norm, as in TANet's code, where 1-D batch norms go on learning statistics.)
    """
    norms = [one for one in encoder.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    fixed = [one for one in norms if isinstance(one, nn.BatchNorm2d)][1:]
    if not fixed:
        raise UserError(
            f"network.partial_batch_norm is true, and the encoder {encoder.config.name} has no 2-D batch norms.",
            "Expected an encoder that has several, such as tanet.",
            "Set network.partial_batch_norm=false",
        )
    for norm in norms[1:]:
        norm.requires_grad_(False)
    return fixed

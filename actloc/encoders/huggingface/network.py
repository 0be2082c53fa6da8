"""The network of a model in transformers' form: its pixels, its tokens, and how they become vectors."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from actloc import damage
from actloc.encoders.base_network import ClipEncoder, same_draws
from actloc.encoders.huggingface import Config, preprocessing
from actloc.encoders.huggingface.families import Family
from actloc.encoders.huggingface.model_folder import ModelFolder
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32

_NUM_STAGES = 4


class HuggingFace(ClipEncoder):
    """A transformer over tubes of video, or over pictures one by one."""

    cpu_batch = 1

    def __init__(self, config: Config, folder: ModelFolder, model: nn.Module, *, has_classifier: bool) -> None:
        super().__init__(config)
        self.family: Family = folder.family
        self.values = folder.config
        self.pooling, self.keep_time = config.pooling_of(folder), config.keep_time
        self.patch = self.family.patch(self.values)
        self.num_prefix = self.family.prefix(self.values)
        self.backbone = model.get_submodule(self.family.holds) if has_classifier else model
        if "predictor" in self.backbone._modules:  # V-JEPA 2's, which is for training without labels
            del self.backbone._modules["predictor"]
        self.pool = self._own_pooler(model) if self.pooling == "pooler" else None
        if has_classifier:
            self.classifier = model.get_submodule("classifier")
            self.class_names = folder.class_names
            self.classifier_name = "classifier" if self.pooling == self.family.classifies else None
        settings: Any = self.backbone.config  # Any: transformers ships no types that hold
        self.channels = int(settings.hidden_size)
        self.is_framewise = not self.family.is_video
        self.exact_frames = config.exact_frames
        self.clip_multiple = self.exact_frames or self.patch[0]
        factor, less, mean, std = preprocessing.scaling(folder.processor, folder.family)
        self.factor = factor
        self.register_buffer("_less", less + torch.tensor(mean), persistent=False)
        self.register_buffer("_std", torch.tensor(std), persistent=False)

    def _own_pooler(self, model: nn.Module) -> nn.Module | None:
        """The module that makes `pooler`; None for a VideoMAE whose classifier takes the first token."""
        name = self.family.pooler or ""
        found = self.backbone._modules.get(name) or model._modules.get(name)
        if found is None and self.family.model != "VideoMAEModel":
            raise UserError(
                "features.encoder.pooling is pooler, which the weights of this model do not have.",
                f"Expected one of {', '.join(one for one in self.family.pools if one != 'pooler')}.",
                f"Set features.encoder.pooling={self.family.pools[0] if self.family.pools[0] != 'pooler' else 'mean'}",
            )
        return found

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, v) of clips (S, F, H, W, 3)."""
        if self.is_framewise:
            vectors = self.frame_vectors(clips.flatten(0, 1))
            return self.pool_frames(vectors.reshape(*clips.shape[:2], -1))
        if self.exact_frames not in (None, clips.shape[1]):
            raise UserError(
                f"A clip has {clips.shape[1]} frames.",
                f"Expected {self.exact_frames}, for which this {self.family.title} has positions.",
                f"Set features.clip_frames={self.exact_frames}",
            )
        grid = self._grid(*clips.shape[1:4])
        tokens = self._tokens({self.family.input: self._pixels(clips)})
        if not self.keep_time:
            return at_least_float32(self._vector(tokens))[:, :, None]
        order = (len(tokens), grid[1] * grid[2], grid[0]) if self.family.is_time_last else (len(tokens), grid[0], -1)
        of_time = at_least_float32(tokens[:, self.num_prefix :]).reshape(*order, self.channels)
        return of_time.mean(1 if self.family.is_time_last else 2).mT

    def frame_vectors(self, frames: Tensor) -> Tensor:
        """Vectors (N, C) of frames (N, H, W, 3)."""
        return at_least_float32(self._vector(self._tokens(self._inputs(self._pixels(frames)))))

    def pool_frames(self, vectors: Tensor) -> Tensor:
        """The mean (S, C, 1) over frames of vectors (S, F, C), or with keep_time all (S, C, F)."""
        return vectors.mT if self.keep_time else vectors.mean(1)[:, :, None]

    def vectors_per_clip(self, num_frames: int) -> int:
        """One, or with keep_time one for each step of tokens."""
        return num_frames // self.patch[0] if self.keep_time else 1

    def _pixels(self, frames: Tensor) -> Tensor:
        """Scaled pixels (..., 3, H, W) of frames (..., H, W, 3)."""
        scaled = (frames.to(self.dtype) * self.factor - self.get_buffer("_less")) / self.get_buffer("_std")
        return scaled.movedim(-1, -3).contiguous()

    def _inputs(self, pixels: Tensor) -> dict[str, Any]:  # Any: what the model takes
        """The arguments of the model for pictures (N, 3, H, W); NaFlex takes rows of patches and their grid."""
        if self.family.model != "Siglip2VisionModel":
            return {self.family.input: pixels}
        _, side, _ = self.patch
        count, channels, height, width = pixels.shape
        rows, columns = height // side, width // side
        patches = pixels.reshape(count, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        return {
            "pixel_values": patches.reshape(count, rows * columns, -1),
            "pixel_attention_mask": torch.ones(count, rows * columns, dtype=torch.long, device=pixels.device),
            "spatial_shapes": torch.tensor([[rows, columns]] * count, device=pixels.device),
        }

    def _tokens(self, inputs: dict[str, Any]) -> Tensor:  # Any: what the model takes
        """The final tokens (S, N, C)."""
        more = {"skip_predictor": True} if self.family.model == "VJEPA2Model" else {}
        return self.backbone(**inputs, **more).last_hidden_state

    def _vector(self, tokens: Tensor) -> Tensor:
        """(S, C) of tokens (S, N, C)."""
        if self.pooling == "mean":
            return tokens[:, self.num_prefix :].mean(1)
        if self.pooling == "cls" or self.pool is None:
            return tokens[:, 0]
        if self.family.model == "VideoMAEModel":
            return self.pool(tokens.mean(1))
        if self.family.model == "CLIPVisionModel":
            return self.pool(tokens[:, 0])
        return self.pool(tokens)

    def _grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        return frames // self.patch[0], height // self.patch[1], width // self.patch[2]

    def _blocks(self) -> list[nn.Module]:
        return list(self.backbone.get_submodule(self.family.layers).children())

    def stages(self) -> list[list[nn.Module]]:
        """The blocks in four quarters, some of them empty if there are fewer, with what is before and after them."""
        blocks = self._blocks()
        borders = [len(blocks) * number // _NUM_STAGES for number in range(_NUM_STAGES + 1)]
        stages = [blocks[start:end] for start, end in itertools.pairwise(borders)]
        ends = [self._part(name) for name in self.family.last]
        stages[-1] += [one for one in (*ends, self.pool) if one is not None]
        stages[0] = [*(self.backbone.get_submodule(name) for name in self.family.first), *stages[0]]
        return stages

    def _part(self, name: str) -> nn.Module | None:
        holder, _, own = name.rpartition(".")
        return self.backbone.get_submodule(holder)._modules.get(own)

    def map_layers(self) -> dict[str, nn.Module]:
        """The norm before each block's attention."""
        names = {module: name for name, module in self.named_modules()}
        norms = [block.get_submodule(self.family.map_norm) for block in self._blocks()]
        return {names[norm]: norm for norm in norms}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of tokens (S, N, C), or (S * F, N, C) where a block looks at one frame at a time."""
        grid = self._grid(*clip)
        return output[:, self.num_prefix :].reshape(-1, *grid, output.shape[-1]).movedim(-1, 1)

    def zero_pixel(self) -> Tensor:
        """The mean (3,), before it is scaled."""
        return self.get_buffer("_less") / self.factor

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v); raises UserError without a classifier, or of other features."""
        if "classifier" not in self._modules:
            return super().logits(features)
        if self.classifier_name is None:
            raise UserError(
                f"features.encoder.pooling is {self.pooling}.",
                f"Expected {self.family.classifies}, which the classifier of {self.family.title} takes.",
                f"Set features.encoder.pooling={self.family.classifies}",
            )
        return self.classifier(features.mean(2))


def drawn(config: Config, *, keeps_classifier: bool = True) -> HuggingFace:
    """The encoder with random weights, the same in every process; without its classifier, if that is not kept."""
    folder = config.folder()
    has_classifier = folder.has_classifier
    model_class = _model_class(folder, has_classifier=has_classifier)
    with same_draws(), damage.refused(folder.path, _unusable(folder)):
        settings = model_class.config_class.from_pretrained(folder.path, local_files_only=True)
        encoder = HuggingFace(config, folder, model_class(settings), has_classifier=has_classifier)
    if has_classifier and not keeps_classifier:
        del encoder._modules["classifier"]
    return encoder


def loaded(config: Config) -> HuggingFace:
    """The encoder with the weights of its folder; raises UserError if some are missing."""
    folder = config.folder()
    has_classifier = folder.has_classifier
    model_class = _model_class(folder, has_classifier=has_classifier)
    folder.say_what_is_ignored()
    with _quiet(), damage.refused(folder.path, _unusable(folder)):
        model, about = model_class.from_pretrained(
            folder.path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    encoder = HuggingFace(config, folder, model, has_classifier=has_classifier)
    used = {id(weight) for weight in encoder.parameters()}
    missing = [name for name in about["missing_keys"] if id(model.state_dict(keep_vars=True).get(name)) in used]
    if missing or about["mismatched_keys"]:
        raise UserError(
            f"The weights in {folder.path} do not fit its config.json: {', '.join(sorted(missing)) or 'other shapes'}.",
            f"Expected all weights of a {model_class.__name__}.",
            "Copy config.json and the weights from the same model.",
        )
    encoder.weights_sha256, encoder.revision = folder.sha256(), folder.commit
    return encoder


def _unusable(folder: ModelFolder) -> Callable[[str], UserError]:
    """The error for what transformers or safetensors says about the folder."""

    def refusal(reason: str) -> UserError:
        if "ignore_mismatched_sizes" in reason:
            reason = "the weights have other shapes than config.json says"
        return UserError(
            f"The model in {folder.path} cannot be used: {reason}.",
            f"Expected config.json and whole weights of one {folder.family.title}.",
            "Copy the folder again from where the model comes from.",
        )

    return refusal


def _model_class(folder: ModelFolder, *, has_classifier: bool) -> Any:  # Any: transformers imports classes when asked
    return getattr(transformers, (folder.family.classifier if has_classifier else folder.family.model) or "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside it, transformers prints neither bars nor advice: what is missing in weights is an error of ours."""
    logging: Any = transformers.utils.logging  # Any: untyped
    before, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if has_bars:
            logging.enable_progress_bar()

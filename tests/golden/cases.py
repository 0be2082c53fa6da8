"""Golden files of ActionFormer as detectors, inputs and targets."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.annotations.model import Action, without_duplicates
from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.layers.drop_path import AffineDropPath
from actloc.settings.detections import SuppressionSettings
from actloc.structures import Detections, Targets
from tests.golden.fill import fill

GOLDEN = Path(__file__).parent
WITHOUT_GRADIENT = ("attn.key.bias", "attn.key_norm.bias")  # truly zero: a constant added to all keys cancels


@functools.lru_cache(maxsize=512)  # of about two networks: drawing them takes longer than running them
def weight(rule: str, key: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a parameter under the fixtures' rule `plain` or `gain`."""
    if rule == "gain" and len(shape) == 3 and shape[0] == shape[2] == 1 < shape[1]:
        return torch.from_numpy(fill(key, shape[1:2]).reshape(shape))
    return torch.from_numpy(fill(key, shape))


def drawn(seed: int, channels: int, steps: int) -> Tensor:
    """The fixtures' features, (C, T)."""
    normal = np.random.RandomState(seed).standard_normal((channels, steps))
    return torch.from_numpy(np.clip(np.round(8 * normal) / 8, -4, 4).astype(np.float32))


def counted_rows(listed: list[dict[str, Any]]) -> list[tuple[float, float, int]]:
    """Start, end and class number of a video's annotations that count as truth."""
    actions = tuple(Action(*item["segment"], str(item["label_id"])) for item in listed)
    return [(action.start_s, action.end_s, int(action.label)) for action in without_duplicates(actions)]


def padded(features: list[Tensor], steps: int) -> tuple[Tensor, Tensor]:
    """Features (B, C, T) and mask (B, T) of videos (C, length)."""
    batch = torch.zeros(len(features), len(features[0]), steps)
    mask = torch.zeros(len(features), steps, dtype=torch.bool)
    for row, video in enumerate(features):
        batch[row, :, : video.shape[1]] = video
        mask[row, : video.shape[1]] = True
    return batch, mask


def unmatched(ours: Detections, theirs: Detections, *, seconds: float, score: float) -> tuple[list[int], list[int]]:
    """Rows of ours and of theirs that have no partner of their own in the other: same label, times and score this near.

    Rows need not be in the same order: scores that differ by rounding alone may swap places.
    """
    near = ours.labels[:, None] == theirs.labels
    near &= (ours.scores[:, None] - theirs.scores).abs() <= score
    distances = (ours.segments[:, None] - theirs.segments).abs().amax(dim=2)
    near &= distances <= seconds
    free, alone = set(range(len(theirs))), []
    for row, candidates in enumerate(near):
        open_rows = [other for other in candidates.nonzero().flatten().tolist() if other in free]
        if open_rows:
            free.remove(min(open_rows, key=lambda other: distances[row, other].item()))
        else:
            alone.append(row)
    return alone, sorted(free)


@dataclass(frozen=True)
class Case:
    """One network with its recorded inputs and outputs."""

    name: str
    facts: dict[str, Any]  # the json as it is
    arrays: dict[str, NDArray[Any]]

    def config(self, **changes: Any) -> Config:
        model, train, test = (
            self.facts["model_args"],
            *(self.facts["merged_config"][k] for k in ("train_cfg", "test_cfg")),
        )
        num_embedding_convs, num_stem_blocks, num_branch_blocks = model["backbone_arch"]
        settings = {
            "backbone": {"convTransformer": "transformer", "conv": "conv"}[model["backbone_type"]],
            "neck": model["fpn_type"],
            "dim": model["embd_dim"],
            "num_heads": model["n_head"],
            "windows": model["n_mha_win_size"],
            "num_embedding_convs": num_embedding_convs,
            "embedding_kernel": model["embd_kernel_size"],
            "embedding_norm": model["embd_with_ln"],
            "num_stem_blocks": num_stem_blocks,
            "num_branch_blocks": num_branch_blocks,
            "scale_factor": model["scale_factor"],
            "position_embedding": model["use_abs_pe"],
            "relative_positions": model["use_rel_pe"],
            "first_level": model["fpn_start_level"],
            "neck_norm": model["fpn_with_ln"],
            "head_norm": model["head_with_ln"],
            "head_layers": model["head_num_layers"],
            "head_kernel": model["head_kernel_size"],
            "regression_ranges": model["regression_range"],
            "dropout": train["dropout"],
            "drop_path": train["droppath"],
            "label_smoothing": train["label_smoothing"],
            "loss_weight": train["loss_weight"],
            "initial_normaliser": train["init_loss_norm"],
            "max_buffer_factor": model["max_buffer_len_factor"],
            "kept_per_level": test["pre_nms_topk"],
            "shortest_steps": test["duration_thresh"],
        }
        return Config.model_validate(settings | changes)

    def suppression(self) -> SuppressionSettings:
        test = self.facts["merged_config"]["test_cfg"]
        return SuppressionSettings(
            sigma=test["nms_sigma"],
            min_score=test["min_score"],
            max_kept=test["max_seg_num"],
            multiclass=test["multiclass_nms"],
            voting_threshold=test["voting_thresh"],
        )

    def build(self, rule: str, **changes: Any) -> ActionFormer:
        """The detector with the fixture's weights, in evaluation."""
        model = self.facts["model_args"]
        detector = self.config(**changes).build(model["input_dim"], model["num_classes"], model["max_seq_len"])
        shapes = {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items()}
        detector.load_state_dict({name: weight(rule, name, shape) for name, shape in shapes.items()})
        return detector.eval()

    def features(self, video: dict[str, Any]) -> Tensor:
        return drawn(video["seed"], self.facts["model_args"]["input_dim"], video["T"])

    def training_batch(self, detector: ActionFormer) -> tuple[Tensor, Tensor, list[Targets]]:
        """The recorded training batch, padded as the detector chooses; dropout and drop path are switched off."""
        detector.train()
        for module in detector.modules():
            if isinstance(module, AffineDropPath):
                module.rate = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        videos = self.facts["train"]["videos"]
        steps = detector.padded_steps(max(video["T"] for video in videos))
        return *padded([self.features(video) for video in videos], steps), self.targets()

    def targets(self) -> list[Targets]:
        return [
            Targets(*(torch.from_numpy(self.arrays[f"train{row}_{part}"]) for part in ("segments", "labels")))
            for row in range(len(self.facts["train"]["videos"]))
        ]

    def official_keys(self) -> list[list[Any]]:
        """[name, shape, group] of every official parameter; the tiny cases know no group."""
        if "state_dict" in self.facts:
            return [[key.removeprefix("module."), shape, ""] for key, shape, _ in self.facts["state_dict"]]
        listed = json.loads((GOLDEN / "state_dicts" / f"{self.facts['config']}.json").read_text())
        return [[key.removeprefix("module."), shape, group] for key, shape, group in listed]


def load_case(name: str) -> Case:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return Case(name, json.loads((GOLDEN / f"{name}.json").read_text()), dict(arrays))

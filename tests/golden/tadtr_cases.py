"""Golden files of TadTR as detectors, inputs and targets."""

import functools
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.detectors.tadtr import Config
from actloc.detectors.tadtr.network import TadTR
from actloc.ops.queries import QueryTargets
from tests.golden.cases import GOLDEN, drawn, padded
from tests.golden.fill import fill

FOLDER = GOLDEN / "tadtr"
LOOSER = {"tiny": 1, "tiny_no_refine": 1, "thumos14_i3d2s": 5}  # what the fixtures allow at full size
STEPS = 128  # at least the length of every recorded video


def state_entries(name: str) -> list[tuple[str, list[int], str]]:
    """Name, shape and group of every entry of the official state dict; the group may name an equal entry."""
    stored = FOLDER / "state_dicts" / f"{name}.json"
    listed = json.loads(stored.read_text()) if stored.is_file() else Case(name).facts["state_dict"]
    return [(key, shape, group) for key, shape, group, *_ in listed]


def official_weights(name: str) -> dict[str, Tensor]:
    """The fixture's weights by official name; entries that share a tensor have one value."""
    return {
        key: _value(group.removeprefix("same as ") if group.startswith("same as ") else key, tuple(shape))
        for key, shape, group in state_entries(name)
    }


@functools.lru_cache(maxsize=512)
def _value(key: str, shape: tuple[int, ...]) -> Tensor:
    value = torch.from_numpy(fill(key, shape))
    if key.startswith("segment_embed") and ".layers.2." in key:
        value = value * 0.1
        if key.endswith("bias"):
            value[1] -= 1
    return value


class Case:
    """One recorded network with its inputs and outputs."""

    def __init__(self, name: str) -> None:
        self.name, self.scale = name, LOOSER[name]
        self.facts: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays: dict[str, NDArray[Any]] = dict(arrays)

    def config(self) -> Config:
        cfg = self.facts["cfg"]
        return Config(
            dim=cfg["hidden_dim"],
            num_heads=cfg["nheads"],
            encoder_layers=cfg["enc_layers"],
            decoder_layers=cfg["dec_layers"],
            encoder_points=cfg["enc_n_points"],
            decoder_points=cfg["dec_n_points"],
            hidden_dim=cfg["dim_feedforward"],
            activation=cfg["activation"],
            dropout=0.0,
            num_queries=cfg["num_queries"],
            position_embedding=cfg["use_pos_embed"],
            refinement=cfg["seg_refine"],
            query_attention=not cfg["disable_query_self_att"],
            actionness=cfg["act_reg"],
            padding_counts=False,
            class_cost=cfg["set_cost_class"],
            segment_cost=cfg["set_cost_seg"],
            iou_cost=cfg["set_cost_iou"],
            class_weight=cfg["cls_loss_coef"],
            segment_weight=cfg["seg_loss_coef"],
            iou_weight=cfg["iou_loss_coef"],
            actionness_weight=cfg["act_loss_coef"],
            sampling_rate_factor=cfg["lr_linear_proj_mult"],
            kept_per_window=cfg["postproc_ins_topk"],
        )

    def build(self) -> TadTR:
        """The detector with the fixture's weights, in evaluation."""
        detector = self.config().build(self.facts["in_channels"], self.facts["num_classes"], STEPS)
        detector.load_state_dict(official_weights(self.name))
        return detector.eval()

    def batch(self, videos: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Features (B, C, T) and mask of the videos of one recording."""
        channels = self.facts["in_channels"]
        listed = [drawn(seed, channels, steps) for seed, steps in zip(videos["seeds"], videos["T"], strict=True)]
        return padded(listed, max(videos["T"]))

    def actions(self, videos: dict[str, Any]) -> list[QueryTargets]:
        """The recorded centres, widths and classes; some actions end beyond their window."""
        pairs = zip(videos["segs"], videos["labels"], strict=True)
        return [
            QueryTargets(torch.tensor(segments).reshape(-1, 2), torch.tensor(labels, dtype=torch.long))
            for segments, labels in pairs
        ]

"""The names that TALLFormer's code gives the weights of its ActivityNet detector, the heads of AFSD."""

import re
from dataclasses import replace
from pathlib import Path

from actloc.weights.official_actionformer import OfficialCheckpoint
from actloc.weights.official_tallformer import read_official_tallformer

_PREFIX = "coarse_pyramid_detection."
_RENAMED = (
    (r"^pyramids\.0\.", "reduction."),
    (r"^pyramids\.1\.", "consistency."),
    *((rf"^pyramids\.2\.layer{level + 1}\.0\.", f"pyramid.halving.{level}.") for level in range(9)),
    (r"^(pyramid\.halving\.\d)\.gn\.", r"\1.norm."),
    (r"^pyramids\.3\.(\w+)\.(\d)\.gn\.", r"pyramid.top_down.\1.\2.bn."),
    (r"^pyramids\.3\.", "pyramid.top_down."),
    (r"^action_head\.cls\.", "video_classifier."),
    (r"^loc_heads\.(\d)\.scale$", r"scales.\1"),
    *((rf"^deconv\.{3 * unit}\.conv1d\.", f"fine_grid.{unit}.conv.") for unit in range(3)),
    *((rf"^deconv\.{3 * unit + 1}\.", f"fine_grid.{unit}.norm.") for unit in range(3)),
    (r"(_tower\.\d|_conv)\.0\.conv1d\.", r"\1.conv."),
    (r"(_tower\.\d|_conv)\.1\.", r"\1.norm."),
    (r"^loc_tower\.", "segment_tower."),
    (r"^conf_tower\.", "confidence_tower."),
    (r"^loc_head\.conv1d\.", "distance_head."),
    (r"^conf_head\.conv1d\.", "confidence_head."),
    (r"^prop_loc_head\.conv1d\.", "correction_head."),
    (r"^prop_conf_head\.conv1d\.", "refined_confidence_head."),
    (r"^center_head\.conv1d\.", "quality_head."),
    (r"^loc_proposal_branch\.", "segment_refinement."),
    (r"^conf_proposal_branch\.", "confidence_refinement."),
    (r"\.cur_point_conv\.", ".point."),
    (r"\.lr_conv\.", ".sides."),
    (r"\.roi_conv\.", ".fine."),
    (r"\.proposal_conv\.", ".joined."),
)


def read_official_afsd(path: Path) -> OfficialCheckpoint:
    """Reads `path` like `read_official_tallformer`, with the detector's weights by actloc's names.

    A name that is not known stays as it is, so that a check against the detector reports it.
    """
    official = read_official_tallformer(path)
    weights = {actloc_name(name): tensor for name, tensor in official.weights.items()}
    return replace(official, weights=weights, averaged=weights)


def actloc_name(official: str) -> str:
    """The name of a weight in `actloc.detectors.afsd`, from its official one."""
    name = official.removeprefix(_PREFIX)
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name

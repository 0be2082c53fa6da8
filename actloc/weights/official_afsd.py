"""The names that TALLFormer's code gives the weights of its ActivityNet detector, the heads of AFSD."""

import re
from collections.abc import Mapping

from torch import Tensor

PREFIX = "coarse_pyramid_detection."
_COMPUTED = "relative_position_index"  # a table that follows from the number of positions
_RENAMED = (
    (r"^pyramids\.0\.", "reduction."),
    (r"^pyramids\.1\.", "consistency."),
    *((rf"^pyramids\.2\.layer{level + 1}\.0\.", f"pyramid.halving.{level}.") for level in range(9)),
    (r"^pyramids\.3\.lateral_convs\.", "pyramid.lateral."),
    (r"^pyramids\.3\.fpn_convs\.", "pyramid.output."),
    (r"\.gn\.", ".norm."),
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


def detector_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The detector's weights by actloc's names, from those of an official checkpoint; other weights are left out.

    A name that is not known stays as it is, so that a check against the detector reports it.
    """
    return {
        actloc_name(name.removeprefix(PREFIX)): tensor
        for name, tensor in state.items()
        if name.startswith(PREFIX) and not name.endswith(_COMPUTED)
    }


def actloc_name(official: str) -> str:
    """The name of a weight in `actloc.detectors.afsd`, from its official one without `PREFIX`."""
    for pattern, name in _RENAMED:
        official = re.sub(pattern, name, official)
    return official

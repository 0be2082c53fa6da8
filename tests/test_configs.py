"""Every YAML loads, stands in the table, and builds the network of the published size."""

from pathlib import Path

import pytest
import torch

from actloc import experiment

# channels of the features, classes, weights of the official network (spec: actionformer, section 13)
OFFICIAL = {
    "thumos14_i3d_actionformer": (2048, 20, 29251612),
    "activitynet13_tsp_actionformer": (512, 1, 6943497),
    "activitynet13_i3d_actionformer": (2048, 1, 8123145),
    "epic_kitchens100_verb_slowfast_actionformer": (2304, 97, 29763177),
    "epic_kitchens100_noun_slowfast_actionformer": (2304, 300, 30075188),
    "ego4d_mq_slowfast_actionformer": (2304, 110, 32945271),
    "ego4d_mq_omnivore_actionformer": (1536, 110, 34927736),
    "ego4d_mq_egovlp_actionformer": (256, 110, 18675576),
    "ego4d_mq_slowfast_egovlp_actionformer": (2560, 110, 78933624),
    "ego4d_mq_omnivore_egovlp_actionformer": (1792, 110, 77164152),
    "ego4d_mq_slowfast_omnivore_egovlp_actionformer": (4096, 110, 134048888),
    "hapt_imu_actionformer": (300, 12, 1772564),
}


@pytest.mark.parametrize("file", sorted(Path("configs").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_loads_and_stands_in_the_table(file: Path) -> None:
    loaded = experiment.load(str(file))
    assert loaded.run.name == file.stem
    assert f"| `{file.stem}` |" in Path("configs/README.md").read_text()


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_config_has_the_official_networks_size_and_averaging(name: str) -> None:
    channels, num_classes, weights = OFFICIAL[name]
    loaded = experiment.load(f"configs/{name}.yaml")
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, loaded.features.max_steps)
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    assert (loaded.average.decay, loaded.average.warm_up) == (0.999, name == "hapt_imu_actionformer")
    assert loaded.features.max_steps == {"t": 2304, "a": 192, "ep": 2304, "eg": 1024, "h": 1280}[_family(name)]


def _family(name: str) -> str:
    return name[:2] if name.startswith("e") else name[0]

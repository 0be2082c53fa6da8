"""Every YAML loads, and the official ones build the network of the published size."""

import re
from pathlib import Path

import pytest
import torch

from actloc import experiment

OFFICIAL = {  # channels of the features, classes, steps of a training window, weights of the official network
    "thumos14_i3d_actionformer": (2048, 20, 2304, 29251612),
    "thumos14_i3d_temporalmaxer": (2048, 20, 2304, 7117852),
    "activitynet13_tsp_actionformer": (512, 1, 192, 6943497),
    "activitynet13_i3d_actionformer": (2048, 1, 192, 8123145),
    "epic_kitchens100_verb_slowfast_actionformer": (2304, 97, 2304, 29763177),
    "epic_kitchens100_noun_slowfast_actionformer": (2304, 300, 2304, 30075188),
    "ego4d_mq_slowfast_actionformer": (2304, 110, 1024, 32945271),
    "ego4d_mq_omnivore_actionformer": (1536, 110, 1024, 34927736),
    "ego4d_mq_egovlp_actionformer": (256, 110, 1024, 18675576),
    "ego4d_mq_slowfast_egovlp_actionformer": (2560, 110, 1024, 78933624),
    "ego4d_mq_omnivore_egovlp_actionformer": (1792, 110, 1024, 77164152),
    "ego4d_mq_slowfast_omnivore_egovlp_actionformer": (4096, 110, 1024, 134048888),
    "hapt_imu_actionformer": (300, 12, 1280, 1772564),
}


@pytest.mark.parametrize("file", sorted(Path("configs").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_loads_under_its_own_name(file: Path) -> None:
    assert experiment.load(str(file)).run.name == file.stem


def test_the_table_lists_configs_that_exist_and_all_official_ones() -> None:
    listed = re.findall(r"^\| `(\w+_\w+|own_videos)` \|", Path("configs/README.md").read_text(), re.MULTILINE)
    existing = {file.stem for file in Path("configs").rglob("*.yaml")}
    assert set(listed) <= existing
    assert OFFICIAL.keys() <= set(listed)


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_config_has_the_official_networks_size_and_averaging(name: str) -> None:
    channels, num_classes, max_steps, weights = OFFICIAL[name]
    loaded = experiment.load(f"configs/{name}.yaml")
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, max_steps)
    assert loaded.features.max_steps == max_steps
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    assert (loaded.average.decay, loaded.average.warm_up) == (0.999, name == "hapt_imu_actionformer")

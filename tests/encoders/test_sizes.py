"""The recorded sizes of encoders are those that are counted, and every shipped config has one."""

import json
from pathlib import Path

import pytest

from actloc.encoders import base_sizes as sizes
from actloc.encoders.base_sizes import EncoderSize
from actloc.encoders.tanet import Config as TANetConfig
from actloc.experiment import load
from actloc.tasks.base import task_of
from scripts.encoder_sizes import counted, shipped_encoders


@pytest.mark.slow
def test_the_recorded_sizes_are_those_that_are_counted() -> None:
    """If this fails after a change of an encoder or a config: .venv/bin/python -m scripts.encoder_sizes"""
    assert json.loads(json.dumps(counted())) == json.loads(sizes.FILE.read_text())


def test_every_shipped_encoder_has_a_recorded_size() -> None:
    for config, num_frames in shipped_encoders():
        assert sizes.recorded(config, num_frames) is not None, (config, num_frames)


def test_other_settings_and_other_frames_are_not_recorded_but_a_file_of_weights_and_the_precision_change_nothing(
    tmp_path: Path,
) -> None:
    config = load("configs/features/tanet_8f.yaml").features.encoder
    assert isinstance(config, TANetConfig)
    known = sizes.recorded(config, 8)
    (tmp_path / "w.pth").write_bytes(b"")
    same = {"weights": tmp_path / "w.pth", "precision": "bfloat16", "rate_factor": 0.5}
    assert known is not None
    assert sizes.recorded(config.model_copy(update=same), 8) == known
    assert sizes.recorded(config.model_copy(update={"crop": 192}), 8) is None
    assert sizes.recorded(config, 16) is None


def test_an_encoder_of_the_users_own_is_never_taken_for_a_shipped_one() -> None:
    class Config(TANetConfig):
        """Of the user's own."""

    config = load("configs/features/tanet_8f.yaml").features.encoder
    assert config is not None
    assert sizes.recorded(Config.model_validate(config.model_dump() | {"name": "tanet"}), 8) is None


@pytest.mark.parametrize(
    ("config", "shown"),
    [  # million weights with the classifier, and G multiply-adds of one view, measured on the official code
        ("kinetics400_tanet_8f", (25.59, 32.76)),
        ("kinetics400_tanet_16f", (25.60, 65.52)),
        ("something_something_v1_tanet_8f", (25.13, 32.76)),
        ("something_something_v2_tanet_8f", (25.13, 32.76)),
        ("kinetics400_dualformer_t", (21.97, 59.86)),
        ("kinetics400_dualformer_s", (49.22, 158.26)),
        ("kinetics400_dualformer_b", (87.25, 267.39)),
    ],
)
def test_a_recogniser_is_counted_with_its_classifier(config: str, shown: tuple[float, float]) -> None:
    size = _recognizer(config)
    assert size.multiply_adds is not None
    assert (round(size.weights / 1e6, 2), round(size.multiply_adds / 1e9, 2)) == shown


@pytest.mark.parametrize(
    ("config", "num_classes"),
    [
        ("kinetics600_dualformer_b", 600),
        ("something_something_v1_tanet_16f", 174),
        ("ucf101_dualformer_s", 101),
        ("hmdb51_dualformer_s", 51),
        ("diving48_dualformer_s", 48),
        ("own_clips", None),
        ("own_videos", None),
    ],
)
def test_the_number_of_classes_is_that_of_the_datasets_list_if_it_has_one(config: str, num_classes: int | None) -> None:
    experiment = load(f"configs/{config}.yaml")
    assert task_of(experiment).num_classes(experiment) == num_classes


def _recognizer(name: str) -> EncoderSize:
    experiment = load(f"configs/{name}.yaml")
    task = task_of(experiment)
    (encoder,) = (one for section in experiment.sections.values() if (one := task.encoder_in(section)))
    num_classes = task.num_classes(experiment)
    assert num_classes is not None
    size = sizes.recorded(*encoder)
    assert size is not None
    return size.with_classifier(num_classes)

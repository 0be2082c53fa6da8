"""The examples of configs/README.md with one mistake each: what is said names their file and line."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.encoders.base_network import built
from actloc.errors import UserError
from actloc.extraction.batches import BatchedNetwork
from actloc.extraction.preparing import prepare
from actloc.extraction.ray_pieces import to_bytes
from actloc.extraction.ray_workers import EncoderCopy, EncodingThere, row
from actloc.runs.localizer import LocalizationLearner, Localizer, build_detector
from actloc.runs.one_video import OneVideo
from actloc.settings import own_code, parts
from actloc.settings.code_errors import blaming
from actloc.settings.code_files import Packed
from actloc.settings.detections import SuppressionSettings
from actloc.settings.sections import MachineSettings, PreparationSettings
from actloc.structures import Batch, Grid, Sample, Targets
from actloc.video.windows import ClipSpacing
from tests.end_to_end.test_own_parts import write_examples

CPU = torch.device("cpu")
SPACING = ClipSpacing(8.0, None, 2, 1, 2, "valid")


@pytest.fixture(autouse=True)
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path)
    (tmp_path / "my_videos").mkdir()
    (tmp_path / "my_videos/v.mp4").touch()
    (tmp_path / "my_videos/v.txt").write_text("1.0\t2.0\tred\n")
    yield
    own_code.use(())


def localizer() -> Localizer:
    detector = build_detector(parts.find("detectors", "one_layer").Config(), 6, 2, 32, seed=0, device=CPU)
    return Localizer(detector, CPU, "float32", SuppressionSettings(), 64)


def sample() -> Sample:
    targets = Targets(torch.tensor([[2.0, 5.0]]), torch.tensor([1]))
    return Sample("v", torch.zeros(6, 9), targets, Grid(8.0, 2.0, 2.0))


def source() -> OneVideo:
    config = parts.find("sources", "stored").Config(path=Path("features"), fps=8, clip_frames=2, stride_frames=2)
    return OneVideo(config, AnnotatedVideo("v", ""), torch.zeros(6, 9), Grid(8.0, 2.0, 2.0))


def training() -> None:
    learner = LocalizationLearner(localizer(), source(), Annotations(("a", "b"), {}), lambda _: 0.0)
    batch = Batch((sample(),))
    learner.losses(*learner.features(batch), batch)


def detecting() -> None:
    localizer().detect_one(source(), [sample()], 10.0)


def preparing() -> None:
    config = parts.find("datasets", "audacity_labels").Config(folder=Path("new"), videos=Path("my_videos"))
    prepare(config, PreparationSettings())


class Received(list[object]):
    def receive(self, vector: object) -> None:
        self.append(vector)


def encoding() -> None:
    encoder = built(parts.find("encoders", "colour_fields").Config())
    network = BatchedNetwork(encoder, SPACING, MachineSettings(clip_batch=4))
    network.add(Received(), [np.zeros((2, 64, 64, 3), np.uint8)] * 4)


@pytest.mark.parametrize(
    ("act", "part", "right", "wrong", "message"),
    [
        (training, "one_layer", "return OneLayer(", "OneLayer(", "Config.build returned None. Expected a Detector"),
        (training, "one_layer", "return longest", "return 1", "OneLayer.padded_steps returned a int."),
        (
            training,
            "one_layer",
            'return {"class"',
            'return 1, {"class"',
            "OneLayerCriterion.forward returned a tuple of 2.",
        ),
        (training, "one_layer", ".sum() / mask.sum(),", ",", "{class: torch.float32 of shape (1, 2, 9), distance: "),
        (
            training,
            "one_layer",
            'return {"class"',
            'return {} and {"class"',
            "OneLayerCriterion.forward returned a dict {}.",
        ),
        (training, "one_layer", "self.criterion =", "criterion =", "Config.build returned a OneLayer."),
        (training, "one_layer", "def select(", "def selekt(", "in build: TypeError: Can't instantiate abstract class"),
        (
            training,
            "one_layer",
            "def forward(self, outputs",
            "def foward(self, outputs",
            "in __init__: TypeError: Can't",
        ),
        (detecting, "one_layer", "return found", "return found[0]", "OneLayer.select returned a Detections."),
        (detecting, "one_layer", "(segments.float(), ", "(segments[0], ", "found ((2,), "),
        (detecting, "one_layer", "torch.nonzero(", "torch.non_zero(", "in select: AttributeError: module 'torch'"),
        (preparing, "audacity_labels", "return Annotations(", "Annotations(", "Config.collect returned None."),
        (preparing, "audacity_labels", "float(start)", "float(label)", "ValueError: could not convert string to float"),
        (encoding, "colour_fields", "return ColourFields(self).eval()", "pass", "Config.build returned None."),
        (encoding, "colour_fields", "self.channels = ", "channels = ", "Config.build returned a ColourFields."),
        (encoding, "colour_fields", "[:, :, None]", "", "encode returned torch.float32 of shape (4, 12)."),
        (encoding, "colour_fields", "3 * config", "4 * config", "encode returned torch.float32 of shape (4, 12, 1)."),
    ],
)
def test_a_wrong_part_is_reported_with_its_line(
    act: Callable[[], None], part: str, right: str, wrong: str, message: str
) -> None:
    path = Path(f"my_parts/{part}.py")
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong))
    parts.use_code([Path("my_parts")])
    with pytest.raises(UserError) as caught, blaming():
        act()
    assert re.match(rf"my_parts/{part}\.py:\d+: ", str(caught.value))
    assert message in str(caught.value).replace("\n ", "")
    assert "it is not in actloc" in str(caught.value)


@pytest.mark.parametrize("act", [training, detecting])
def test_without_a_mistake_nothing_is_said(act: Callable[[], None]) -> None:
    parts.use_code([Path("my_parts")])
    act()


def test_a_mistake_in_a_worker_of_ray_is_reported_with_its_line() -> None:
    path = Path("my_parts/colour_fields.py")
    path.write_text(path.read_text().replace("/ 255", "/ white"))
    parts.use_code([Path("my_parts")])
    copy = EncoderCopy.of(built(parts.find("encoders", "colour_fields").Config()), "cpu")
    packed = Packed.of((copy, SPACING, MachineSettings(clip_batch=4)))
    piece = to_bytes((np.zeros((2, 64, 64, 3), np.uint8), np.array([[0, 1]])))
    batch = {name: np.array([value], object) for name, value in row("v", 0, piece=piece).items()}
    answer = EncodingThere(packed)({name: values[0] for name, values in batch.items()})
    refusal = json.loads(answer["end"][0])
    assert refusal["status"] == 2
    assert re.search(r"my_parts/colour_fields\.py:\d+: in encode: NameError: name 'white'", refusal["refusal"][0])
    path.write_text(path.read_text() + "\n")  # on another machine, or while the command runs
    answer = EncodingThere(packed)({name: values[0] for name, values in batch.items()})
    assert (
        "The code in this process differs from that of the command: colour_fields.py"
        in json.loads(answer["end"][0])["refusal"][0]
    )

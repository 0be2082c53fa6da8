"""The configs of the published tables of TAM and DualFormer train and score as their authors did."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from actloc import experiment
from actloc.datasets.base import ClipsConfig
from actloc.encoders.dualformer import Config as DualFormerConfig
from actloc.encoders.tanet import Config as TANetConfig
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.recognition.networks import RecognitionSections, views_of
from actloc.recognition.recognizer import Recognizer, new_classifier
from actloc.settings.published import PublishedAccuracy
from actloc.training.optimizer import scheduled_rate
from actloc.video.frame_transforms import Crop, Resize

DUALFORMER = Path("tests/golden/dualformer")
CLASSES = {"kinetics400": 400, "kinetics600": 600, "something": 174, "diving48": 48, "hmdb51": 51, "ucf101": 101}


@dataclass(frozen=True)
class Row:
    """What the authors publish about one network, and how they train and score it."""

    top_1: str | None
    top_5: str | None
    views: str
    rate: float
    decay: float
    epochs: int
    clips_per_gpu: int
    passes: int = 1
    num_gpus: int = 8
    drop: float = 0.5
    """Dropout of TANet; the highest rate of stochastic depth of DualFormer."""


K400, SSV1, SSV2 = "10 clips x 3 crops", "1 clip x 1 crop", "2 clips x 3 crops"
ONE, THREE = "4 clips x 1 crop", "4 clips x 3 crops"
TAM = {
    "kinetics400_tanet_8f": Row("76.1", "92.3", K400, 0.01, 1e-4, 100, 8),
    "kinetics400_tanet_16f": Row("76.9", "92.9", K400, 0.01, 1e-4, 100, 8),
    "something_something_v1_tanet_8f": Row("46.5", "75.8", SSV1, 0.01, 1e-3, 50, 16, num_gpus=4, drop=0.6),
    "something_something_v1_tanet_16f": Row("47.6", "77.7", SSV1, 0.01, 1e-3, 50, 16, num_gpus=4, drop=0.6),
    "something_something_v2_tanet_8f": Row("62.7", "88.0", SSV2, 0.02, 5e-4, 50, 32, num_gpus=4),
    "something_something_v2_tanet_16f": Row("64.6", "89.5", SSV2, 0.02, 5e-4, 50, 32, num_gpus=4),
}
DUAL = {
    "kinetics400_dualformer_t": Row("79.5", None, ONE, 1e-3, 0.02, 30, 8, drop=0.1),
    "kinetics400_dualformer_s": Row("80.6", None, ONE, 1e-3, 0.02, 30, 4, passes=2, drop=0.2),
    "kinetics400_dualformer_b": Row("81.1", None, ONE, 1e-3, 0.05, 30, 4, passes=2, drop=0.3),
    "kinetics600_dualformer_b": Row("85.2", None, ONE, 5e-4, 0.05, 30, 4, passes=2, drop=0.3),
    "diving48_dualformer_s": Row("81.8", None, THREE, 1e-3, 0.02, 30, 8, drop=0.2),
    "hmdb51_dualformer_s": Row("76.4", None, THREE, 1e-3, 0.1, 16, 4, passes=4, drop=0.3),
    "ucf101_dualformer_s": Row("97.5", None, THREE, 1e-3, 0.1, 16, 4, passes=4, drop=0.3),
    "ucf101_dualformer_t_16f": Row(None, None, THREE, 1e-3, 0.05, 16, 4, passes=4, drop=0.2),
    "kinetics400_dualformer_t_token_labels": Row(None, None, ONE, 1e-3, 0.02, 30, 8, passes=2, drop=0.1),
    "kinetics400_dualformer_s_token_labels": Row(None, None, ONE, 1e-3, 0.02, 30, 4, passes=2, drop=0.2),
}
ROWS = TAM | DUAL
WARM_UP = {"_t": 3, "_s": 2.5, "_b": 2.5}
"""Epochs, on Kinetics; 1 where a trained network is tuned."""


def loaded(name: str, *overrides: str) -> Experiment:
    return experiment.load(f"configs/{name}.yaml", list(overrides))


def header_of(name: str, *, joined: bool = True) -> str:
    """The comment that the file begins with; `joined`: its lines as one, without the marks."""
    header = Path(f"configs/{name}.yaml").read_text().partition("\ntask:")[0]
    return " ".join(header.replace("#", " ").split()) if joined else header


def is_tuned(name: str) -> bool:
    return not name.startswith("kinetics")


def recognizer_of(name: str) -> Recognizer:
    """Without values."""
    sections = RecognitionSections.of(loaded(name))
    num_classes = next(count for key, count in CLASSES.items() if name.startswith(key))
    with torch.device("meta"):
        encoder = sections.encoder.network()
        classifier = new_classifier(encoder, num_classes)
        return Recognizer(encoder, classifier, dropout=sections.network.dropout)


def learned(name: str) -> Counter[tuple[float, float]]:
    """How many tensors learn at each rate, with each decay."""
    optimizer, groups = loaded(name).optimizer, RecognitionSections.of(loaded(name)).network.groups
    found: Counter[tuple[float, float]] = Counter()
    for part in recognizer_of(name).trained_modules(groups).values():
        for group in part.groups(optimizer.weight_decay):
            rate = round(optimizer.learning_rate * group["rate_factor"], 9)
            found[rate, round(group["weight_decay"], 9)] += len(group["params"])
    return found


def test_every_recipe_is_here() -> None:
    shipped = {file.stem for file in Path("configs").glob("*.yaml") if "task:\n  name: recognition" in file.read_text()}
    assert {name for name in shipped if loaded(name).section("network").groups == "published"} == ROWS.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ROWS)
def test_config_and_page_have_the_published_row(name: str) -> None:
    row, made = ROWS[name], loaded(name)
    published = made.section("published")
    assert isinstance(published, PublishedAccuracy)
    figures = (published.top_1, published.top_5)
    assert tuple(None if one is None else str(one) for one in figures) == (row.top_1, row.top_5)
    if row.top_1 is None:
        assert "Not measured here" in header_of(name)
    else:
        assert (published.views, published.subset) == (row.views, made.dataset.evaluation_subset)
    [listed] = re.findall(rf"^\| `{name}` \|(.*)\|$", Path("configs/recognition.md").read_text(), re.MULTILINE)
    *_, views, top_1, top_5 = [cell.strip() for cell in listed.split("|")]
    assert (top_1, top_5) == (row.top_1 or "-", row.top_5 or "-")
    assert views.startswith(f"{row.views} of ")
    assert str(views_of(made)) == row.views


@pytest.mark.parametrize("name", ROWS)
def test_a_step_and_its_rates_are_the_published_ones(name: str) -> None:
    row, made = ROWS[name], loaded(name)
    optimizer, training = made.optimizer, made.training
    assert (optimizer.learning_rate, optimizer.weight_decay, made.schedule.epochs) == (row.rate, row.decay, row.epochs)
    assert optimizer.decays == "weights"  # which published groups do not use
    assert (training.batch_size, training.accumulate) == (row.num_gpus * row.clips_per_gpu, row.passes)
    assert f"torchrun --nproc-per-node {row.num_gpus} -m actloc train {name} " in header_of(name, joined=False)
    step = training.batch_size * training.accumulate
    per_gpu = f"A step has {step} clips: {row.clips_per_gpu} on each of 8 GPUs"
    assert (per_gpu if name in DUAL else f"the {row.clips_per_gpu} clips of their own GPU") in header_of(name)
    assert training.validate_every_epochs == (2 if is_tuned(name) and name in DUAL else 5)
    assert training.validation_subset == made.dataset.evaluation_subset
    assert (made.average.decay, made.evaluation.weights, made.evaluation.checkpoint) == (0, "raw", "last")


@pytest.mark.parametrize("name", TAM)
def test_tanet_trains_as_published(name: str) -> None:
    row, made = TAM[name], loaded(name)
    sections = RecognitionSections.of(made)
    encoder, clips, evaluation = sections.encoder, sections.clips, sections.evaluation
    assert isinstance(encoder, TANetConfig)
    frames, num_classes = (16 if "16f" in name else 8), (400 if "kinetics" in name else 174)
    assert (encoder.frames, encoder.mode, encoder.weights_of) == (frames, "token", "imagenet")
    published = {(8, 400): 25590320, (8, 174): 25127246, (16, 400): 25597744, (16, 174): 25134670}
    assert sum(one.numel() for one in recognizer_of(name).parameters()) == published[frames, num_classes]
    assert sections.network.dropout == row.drop
    assert not sections.network.partial_batch_norm
    is_dense = "kinetics" in name
    assert clips.sampling == ("dense" if is_dense else "uniform")
    assert clips.multi_scale_crop == "native"
    assert clips.mirror == (0 if "_v1_" in name else 0.5)
    assert evaluation.average == "logits"
    steps = views_of(made).steps(encoder.frame_steps())
    assert [step.short_side for step in steps if isinstance(step, Resize)] == [256]
    if "_v1_" in name:
        assert [step.size for step in steps if isinstance(step, Crop)] == [224]
    else:
        assert (evaluation.crops, evaluation.crop) == ("three_across", 256)
    optimizer = made.optimizer
    assert (optimizer.name, optimizer.momentum, optimizer.clip_norm) == ("sgd", 0.9, 20)
    drops = (50, 75, 90) if is_dense else (30, 40, 45)
    rates = [scheduled_rate(epoch * 7, row.rate, 7, made.schedule) for epoch in range(row.epochs)]
    assert rates == pytest.approx([row.rate * 0.1 ** sum(epoch >= one for one in drops) for epoch in range(row.epochs)])


@pytest.mark.parametrize("name", ["kinetics400_tanet_8f", "something_something_v1_tanet_16f"])
def test_tanets_tensors_learn_in_the_published_groups(name: str) -> None:
    """All 33 linear weights at five times the rate, also those of the temporal modules; only weights decay."""
    row = TAM[name]
    of_modules = 16 * 2  # convolutions of the importance, and linear weights of the kernel
    assert learned(name) == {
        (row.rate, row.decay): 53 + of_modules,
        (row.rate, 0.0): 2 * (53 + of_modules),
        (round(5 * row.rate, 9), row.decay): of_modules + 1,
        (round(10 * row.rate, 9), 0.0): 1,
    }


@pytest.mark.parametrize("name", DUAL)
def test_dualformer_trains_as_published(name: str) -> None:
    row, made = DUAL[name], loaded(name)
    sections = RecognitionSections.of(made)
    encoder, clips, evaluation = sections.encoder, sections.clips, sections.evaluation
    assert isinstance(encoder, DualFormerConfig)
    letter = re.search(r"dualformer(_[tsb])", name)
    assert letter
    sizes = {"_t": ("tiny", 21972560), "_s": ("small", 49215664), "_b": ("base", 87247632)}
    size, weights = sizes[letter[1]]
    assert encoder.size == size
    if name.startswith("kinetics400"):
        assert sum(one.numel() for one in recognizer_of(name).parameters()) == weights
    frames, tuned = (16 if "16f" in name else 32), is_tuned(name)
    assert (encoder.frames, clips.frames, encoder.mode, encoder.drop_path) == (frames, frames, "clip", row.drop)
    assert encoder.scaling == ("fine_tuned" if tuned else "imagenet")
    assert encoder.pyramid == ("new" if "16f" in name else "file")
    assert (clips.sampling, clips.interval, clips.random_resized_crop) == ("interval", 4 if tuned else 2, (0.08, 1))
    assert (clips.mirror, sections.network.dropout) == (0.5, 0.5)
    assert evaluation.crops == ("three_along" if tuned else "centre")
    assert (evaluation.average, evaluation.crop or encoder.crop) == ("probabilities", 224)
    before, after = (
        [step.short_side for step in steps if isinstance(step, Resize)]
        for steps in (encoder.frame_steps(), views_of(made).steps(encoder.frame_steps()))
    )
    assert (before, after) == ([256], [224])
    optimizer, schedule = made.optimizer, made.schedule
    assert (optimizer.name, optimizer.clip_norm, schedule.name) == ("adamw", 0, "cosine_by_epoch")
    assert (schedule.warmup_first_epochs, schedule.warmup_share) == (1 if tuned else WARM_UP[letter[1]], 0.1)
    annotator = sections.token_labels.annotator
    assert (annotator is not None) == ("token_labels" in name)
    if isinstance(annotator, DualFormerConfig):
        assert (annotator.size, annotator.frames, annotator.weights) == ("base", 32, None)


def test_dualformers_tensors_and_steps_have_the_official_rates() -> None:
    official = json.loads((DUALFORMER / "optim_groups_tiny.json").read_text())
    assert learned("kinetics400_dualformer_t") == Counter((round(rate, 9), decay) for _, rate, decay in official)
    schedule = loaded("kinetics400_dualformer_t").schedule
    recorded = json.loads((DUALFORMER / "lr_tiny.json").read_text())
    full = [rates[0] for rates in recorded["lr_per_iteration"]]
    found = [scheduled_rate(step, 1e-3, recorded["iters_per_epoch"], schedule) for step in range(len(full))]
    assert found == pytest.approx(full)


@pytest.mark.parametrize("name", ROWS)
def test_data_and_weights_are_where_the_header_says(name: str) -> None:
    made, header = loaded(name), header_of(name)
    assert isinstance(made.dataset, ClipsConfig)
    for path in (made.dataset.videos, getattr(made.dataset, "annotations", None)):
        assert str(path) in header
    encoder = RecognitionSections.of(made).encoder
    if isinstance(encoder, DualFormerConfig) and encoder.weights:
        assert str(encoder.weights) in header


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            ["optimizer.decays=all"],
            "optimizer.decays: found all, which has no effect because network.groups is publish",
        ),
    ],
)
def test_settings_without_effect_are_refused(settings: list[str], fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(fault)):
        loaded("kinetics400_tanet_8f", *settings)
    labels = ["token_labels.top_k=3", "token_labels.average_frames=apart"]
    assert loaded("kinetics400_dualformer_t_token_labels", *labels)
    assert loaded("kinetics400_tanet_8f", "network.groups=usual", "optimizer.decays=all")

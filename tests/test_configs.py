"""Every YAML loads, and the official ones build the network of the published size."""

import random
import re
from pathlib import Path

import pytest
import torch

from actloc import experiment
from actloc.detectors.bmn import Config as BmnConfig
from actloc.detectors.etad import Config as EtadConfig
from actloc.encoders.base_network import vectors_per_clip
from actloc.encoders.videomae import Config as VideoMAEConfig
from actloc.end_to_end.choosing import LearningClips
from actloc.errors import UserError
from actloc.ops.candidates import all_candidates, random_rows
from actloc.ops.windows import covering_windows
from actloc.sources.encoded import Config as EncodedConfig
from actloc.video.frame_transforms import Crop

UNUSED = 2 * 2 * 2 * 512  # weights of DyFADet's heads that nothing uses: they are stored and do not learn
OFFICIAL = {  # channels of the features, classes, steps of a training window, weights of the official network
    "thumos14_i3d_actionformer": (2048, 20, 2304, 29251612),
    "thumos14_i3d_temporalmaxer": (2048, 20, 2304, 7117852),
    "multithumos_i3d_temporalmaxer": (1024, 65, 2304, 6402633),
    "epic_kitchens100_verb_slowfast_temporalmaxer": (2304, 97, 2304, 7630441),
    "epic_kitchens100_noun_slowfast_temporalmaxer": (2304, 300, 2304, 7941428),
    "thumos14_i3d_tridet": (2048, 20, 2304, 15989604),
    "activitynet13_tsp_tridet": (512, 1, 768, 12811555),
    "epic_kitchens100_verb_slowfast_tridet": (2304, 97, 2304, 18594123),
    "epic_kitchens100_noun_slowfast_tridet": (2304, 300, 2304, 19503532),
    "hacs_slowfast_tridet": (2304, 200, 960, 51860092),
    "hacs_i3d_tridet": (2048, 200, 512, 53412473),
    "thumos14_i3d_dyfadet": (2048, 20, 2304, 28517160 - UNUSED),
    "thumos14_videomae2_g_dyfadet": (1408, 20, 2304, 27534120 - UNUSED),
    "activitynet13_tsp_dyfadet": (512, 1, 768, 20282133 - UNUSED),
    "epic_kitchens100_verb_slowfast_dyfadet": (2304, 97, 2304, 30884981 - UNUSED),
    "epic_kitchens100_noun_slowfast_dyfadet": (2304, 300, 2304, 31170368 - UNUSED),
    "hacs_slowfast_dyfadet": (2304, 200, 960, 194105564 - 2 * UNUSED),  # its heads have twice the channels
    "hacs_videomae2_g_dyfadet": (1408, 200, 1216, 119061212 - 2 * UNUSED),
    "fineaction_videomae2_g_dyfadet": (1408, 1, 2304, 22040598 - UNUSED),
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
ETAD = {  # the same four, and the candidates of a training step; weights are not averaged
    "activitynet13_tsp_etad": (512, 1, 128, 10343450, 495),
    "activitynet13_r2plus1d_34_etad": (512, 1, 128, 10343450, 495),
    "thumos14_i3d_etad": (2048, 1, 128, 10343450 + 256 * (2048 - 512) // 4 * 3, 617),  # its first convolution is wider
}
TADTR = {"thumos14_i3d_tadtr": (2048, 20, 128, 8661594)}  # the same four; weights are not averaged
END_TO_END = {  # the same four, of networks that are trained with their encoder
    "thumos14_video_swin_b_tallformer": (1024, 20, 240, 29839038),
    "thumos14_video_swin_t_tallformer": (768, 20, 240, 29839038 - 256 * 512 * 3),  # its first convolution is narrower
    "thumos14_video_swin_t_128_tallformer": (768, 20, 240, 29839038 - 256 * 512 * 3),
    "thumos14_dualformer_t_tallformer": (512, 20, 240, 29839038 - 512 * 512 * 3),
    "activitynet13_video_swin_b_tallformer": (1024, 200, 384, 31484584),
}
ADATAD = {  # by size: the published average mAP on THUMOS14 and ActivityNet, and the adapters' rate on THUMOS14
    "s": ("small", "69.03", "37.81", 2e-4),
    "b": ("base", "71.14", "38.35", 1e-4),
    "l": ("large", "73.51", "39.21", 1e-4),
    "h": ("huge", "74.95", "39.31", 1e-4),
    "g": ("giant", "77.07", "39.77", 1e-4),
}
LEFT_OPEN = {  # what nobody has published about a config's features, which the user must set
    "thumos14_internvideo2_6b_actionformer": ("features.clip_frames=16", "features.align=centred"),
    "activitynet13_internvideo2_6b_actionformer": (
        "features.fps=15",
        "features.clip_frames=16",
        "features.align=centred",
    ),
    "hacs_internvideo2_6b_actionformer": ("features.fps=native", "features.clip_frames=16", "features.align=valid"),
    "hacs_i3d_tridet": ("features.suffix=.npy",),
    "hacs_videomae2_g_dyfadet": ("features.suffix=.npy",),
}
READ_IN_PLACE = {  # channels, classes, and the published grid: rate, stride, clip length, first clip; None: left open
    "thumos14_videomae2_g_actionformer": (1408, 20, ("native", 4, 16, "valid")),
    "fineaction_videomae2_g_actionformer": (1408, 106, (30, 16, 16, "valid")),
    "epic_sounds_slowfast_actionformer": (2304, 44, (30, 6, 32, "valid")),
    "thumos14_internvideo2_6b_actionformer": (3200, 20, ("native", 4, None, None)),
    "activitynet13_internvideo2_6b_actionformer": (3200, 1, (None, 8, None, None)),
    "hacs_internvideo2_6b_actionformer": (3200, 200, (None, 8, None, None)),
}


@pytest.mark.parametrize("file", sorted(Path("configs").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_loads_under_its_own_name(file: Path) -> None:
    assert experiment.load(str(file), list(LEFT_OPEN.get(file.stem, ()))).run.name == file.stem


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_what_nobody_has_published_has_no_default_and_is_asked_for(name: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment.load(name)
    asked = re.findall(r"(features\.\w+) is required, .*; write \1=VALUE, expected .", caught.value.found)
    assert asked == [typed.partition("=")[0] for typed in LEFT_OPEN[name]]
    assert len(caught.value.found.splitlines()) == 1 + len(asked)
    shown = caught.value.fix.rpartition("actloc show ")[2]
    assert experiment.load(shown).task.name == "localization"  # not one that has something open too
    for typed in LEFT_OPEN[name]:  # each of them is needed
        with pytest.raises(UserError, match=typed.partition("=")[0]):
            experiment.load(name, [other for other in LEFT_OPEN[name] if other != typed])


@pytest.mark.parametrize("name", READ_IN_PLACE)
def test_features_read_in_place_have_the_published_grid_and_a_detector_that_can_be_built(name: str) -> None:
    channels, num_classes, grid = READ_IN_PLACE[name]
    loaded = experiment.load(name, list(LEFT_OPEN.get(name, ())))
    features = loaded.features
    found = (features.fps, features.stride_frames, features.clip_frames, features.align)
    opened = {typed.partition("=")[0].removeprefix("features.") for typed in LEFT_OPEN.get(name, ())}
    names = ("fps", "stride_frames", "clip_frames", "align")
    assert tuple(None if key in opened else value for key, value in zip(names, found, strict=True)) == grid
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, features.max_steps)
    assert sum(weight.numel() for weight in detector.parameters()) > 0
    assert ("\npublished:" in Path(f"configs/{name}.yaml").read_text()) == ("videomae2" in name)


def test_the_table_lists_configs_that_exist_and_all_official_ones() -> None:
    listed = re.findall(r"^\| `(\w+_\w+|own_videos)` \|", Path("configs/README.md").read_text(), re.MULTILINE)
    existing = {file.stem for file in Path("configs").rglob("*.yaml")}
    assert set(listed) <= existing
    adatad = {f"{data}_videomae_{size}_actionformer" for data in ("thumos14", "activitynet13") for size in ADATAD}
    assert OFFICIAL.keys() | ETAD.keys() | TADTR.keys() | END_TO_END.keys() | READ_IN_PLACE.keys() | adatad <= set(
        listed
    )


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_config_has_the_official_networks_size_and_averaging(name: str) -> None:
    channels, num_classes, max_steps, weights = OFFICIAL[name]
    loaded = experiment.load(f"configs/{name}.yaml", list(LEFT_OPEN.get(name, ())))
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, max_steps)
    assert loaded.features.max_steps == max_steps
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    assert (loaded.average.decay, loaded.average.warm_up) == (0.999, name == "hapt_imu_actionformer")


@pytest.mark.parametrize("name", ETAD)
def test_a_config_of_etad_has_the_official_size_and_samples(name: str) -> None:
    channels, num_classes, max_steps, weights, num_sampled = ETAD[name]
    loaded = experiment.load(f"configs/{name}.yaml")
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, max_steps)
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    assert isinstance(loaded.detector, EtadConfig)
    candidates = all_candidates(max_steps, loaded.detector.longest_steps or max_steps)
    assert loaded.detector.sampling == "random"
    assert len(random_rows(len(candidates), loaded.detector.sampled_share, torch.Generator())) == num_sampled
    features = loaded.features
    assert features.max_steps == max_steps
    assert max_steps in (features.resize_to, features.window_steps)
    assert features.training_overlap == (features.window_overlap if features.window_steps else None)
    assert loaded.evaluation.weights == "raw"


def test_the_config_of_bmn_has_the_official_network_training_and_rules() -> None:
    loaded = experiment.load("configs/activitynet13_tsn_bmn.yaml")
    with torch.device("meta"):
        detector = loaded.detector.build(400, 1, loaded.features.max_steps)
    assert sum(weight.numel() for weight in detector.parameters()) == 4978564
    official = {"official_balance": True, "reaches_end": False}  # all other settings are the defaults
    assert loaded.detector.model_dump() == BmnConfig(**official).model_dump() | {"name": "bmn"}
    assert loaded.features.resize_to == loaded.features.max_steps == 100
    assert (loaded.optimizer.name, loaded.optimizer.learning_rate, loaded.optimizer.weight_decay) == (
        "adam",
        1e-3,
        1e-4,
    )
    assert (loaded.optimizer.decays, loaded.optimizer.clip_norm, loaded.training.batch_size) == ("all", 0.0, 16)
    assert (loaded.schedule.epochs, loaded.schedule.milestones, loaded.schedule.gamma) == (9, (7,), 0.1)
    assert (loaded.suppression.method, loaded.evaluation.weights) == ("none", "raw")


@pytest.mark.parametrize("name", TADTR)
def test_the_config_of_tadtr_has_the_official_size_and_windows(name: str) -> None:
    channels, num_classes, max_steps, weights = TADTR[name]
    loaded = experiment.load(f"configs/{name}.yaml")
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, max_steps)
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    features = loaded.features
    assert (features.max_steps, features.window_steps) == (max_steps, max_steps)
    # officially windows start at every 32nd step in training, the last one with the end of the video, and at every 96th
    for steps, training, found in (
        (224, [0, 32, 64, 96], [0, 96]),
        (300, [0, 32, 64, 96, 128, 160, 172], [0, 96, 192]),
    ):
        overlap, last_is_whole = features.training_overlap, features.last_window == "whole"
        assert overlap is not None
        starts = [start for start, _ in covering_windows(steps, max_steps, overlap, last_is_whole=True)]
        assert starts == training
        windows = covering_windows(steps, max_steps, features.window_overlap, last_is_whole=last_is_whole)
        assert windows == [(start, min(max_steps, steps - start)) for start in found]
    assert loaded.evaluation.weights == "raw"
    assert (loaded.suppression.method, loaded.suppression.tiou) == ("between_windows", 0.4)


@pytest.mark.parametrize("name", END_TO_END)
def test_a_config_of_tallformer_has_the_official_sizes_windows_and_draws(name: str) -> None:
    channels, num_classes, max_steps, weights = END_TO_END[name]
    loaded = experiment.load(f"configs/{name}.yaml")
    features = loaded.features
    assert isinstance(features, EncodedConfig)
    with torch.device("meta"):
        detector = loaded.detector.build(channels, num_classes, max_steps)
        encoder = features.encoder.network()
    assert sum(weight.numel() for weight in detector.parameters()) == weights
    assert encoder.channels == channels
    assert (features.max_steps, vectors_per_clip(encoder, features.spacing)) == (max_steps, 16)
    num_clips = max_steps // 16 + (features.clip_origin == "random")
    learning = LearningClips(features.fraction, features.choice, features.round_to, features.shared_draw)
    assert learning.number(num_clips) == (2 if loaded.dataset.name == "thumos14" else 9)
    assert loaded.training.batch_size * loaded.training.accumulate == (16 if loaded.dataset.name == "thumos14" else 4)
    crop = 112 if "_128_" in name else 224
    steps = features.drawn(features.encoder.frame_steps(), random.Random(0))
    assert [step.size for step in steps if isinstance(step, Crop)] == [crop]
    assert (features.photometric, features.rotation, features.mirror, features.random_crop) == (0.5, 0.5, 0.5, True)


def test_etads_encoder_learns_from_the_official_snippets_at_the_official_rates() -> None:
    loaded = experiment.load("configs/activitynet13_r2plus1d_34_etad.yaml")
    features, on_features = loaded.features, experiment.load("configs/activitynet13_tsp_etad.yaml")
    assert isinstance(features, EncodedConfig)
    assert (features.resize_by, features.fps, features.clip_frames, features.chunk) == ("clips", 15, 16, 4 * 4)
    assert (loaded.preparation.videos, loaded.preparation.fps, loaded.preparation.short_side) == ("reencode", 15, 256)
    learning = LearningClips(features.fraction, features.choice, features.round_to, features.shared_draw)
    assert learning.number(128) == 40
    assert features.route == "replay"
    assert (features.random_crop, features.mirror) == (True, 0.5)
    rate = loaded.optimizer.learning_rate
    assert (rate, rate * features.encoder.rate_factor) == (5e-4, pytest.approx(5e-7))
    assert features.encoder.weight_decay is None  # the optimizer's
    assert (loaded.optimizer.weight_decay, loaded.optimizer.decays, loaded.optimizer.clip_norm) == (1e-4, "all", 0.0)
    assert loaded.schedule == on_features.schedule
    assert (loaded.schedule.epochs, loaded.schedule.milestones, loaded.schedule.gamma) == (6, (5,), 0.1)
    assert (loaded.training.batch_size, loaded.training.precision, loaded.run.seed) == (4, "float32", 2023)
    for section in ("detector", "suppression", "fusion", "evaluation"):
        assert getattr(loaded, section) == getattr(on_features, section), section


@pytest.mark.parametrize("letter", ADATAD)
def test_adatads_windows_on_thumos14_are_the_official_ones(letter: str) -> None:
    size, average, _, rate = ADATAD[letter]
    name = f"thumos14_videomae_{letter}_actionformer"
    loaded = experiment.load(f"configs/{name}.yaml")
    features, encoder = loaded.features, loaded.features.encoder
    assert isinstance(features, EncodedConfig)
    assert isinstance(encoder, VideoMAEConfig)
    frames, side, short_side, stop = (1536, 224, 256, 50) if letter == "g" else (768, 160, 182, 60)
    layout = features.spacing.layout(10_000, features.steps_per_clip or 0)
    assert [len(layout.frames_of(clip)) for clip in layout.clips_of(0, 768)] == [16] * (frames // 16)
    assert layout.frames_of(1)[0] - layout.frames_of(0)[-1] == features.frame_interval == 3072 // frames
    assert encoder.adapters is not None
    assert encoder.adapters.numbers(encoder.sizes.blocks) == range(20 if letter == "g" else 0, encoder.sizes.blocks)
    assert (encoder.size, encoder.trainable, encoder.crop, encoder.short_side) == (size, "adapters", side, side)
    assert (features.max_steps, features.window_steps, features.window_overlap) == (768, 768, 0.5)
    assert (features.crop_ratio, features.min_kept, features.checkpoint_blocks) == ((0.9, 1.0), 0.75, True)
    assert loaded.optimizer.learning_rate * encoder.rate_factor == pytest.approx(rate)
    assert (loaded.schedule.warmup_epochs, loaded.schedule.epochs, loaded.schedule.stop_after_epochs) == (5, 95, stop)
    _augments_as_adatad(features, short_side)
    assert average in _header(name)


@pytest.mark.parametrize("letter", ADATAD)
def test_adatads_frames_on_activitynet_are_the_official_ones(letter: str) -> None:
    size, _, average, _ = ADATAD[letter]
    name = f"activitynet13_videomae_{letter}_actionformer"
    loaded = experiment.load(f"configs/{name}.yaml")
    features, encoder = loaded.features, loaded.features.encoder
    assert isinstance(features, EncodedConfig)
    assert isinstance(encoder, VideoMAEConfig)
    layout = features.spacing.spread_frames(7680, (features.resize_to or 0) // (features.steps_per_clip or 1), 4)
    frames = [frame for clip in range(len(layout.first_frames)) for frame in layout.frames_of(clip)]
    assert frames == [round((place + 0.5) * 10 - 0.5) for place in range(768)]
    assert (encoder.size, encoder.trainable, encoder.crop, features.resize_to) == (size, "adapters", 160, 192)
    assert loaded.optimizer.learning_rate * encoder.rate_factor == pytest.approx(1e-4)
    assert (loaded.schedule.warmup_epochs, loaded.schedule.epochs, loaded.training.batch_size) == (5, 10, 16)
    assert (loaded.suppression.sigma, loaded.suppression.voting_threshold) == (0.7, 0.9)
    _augments_as_adatad(features, 182)
    assert average in _header(name)


def _augments_as_adatad(features: EncodedConfig, short_side: int) -> None:
    assert (features.training_short_side, features.random_resized_crop, features.mirror) == (short_side, (0.08, 1), 0.5)
    assert (features.rand_augment, features.rand_augment_magnitude) == (2, 9)
    assert (features.color_jitter, features.color_jitter_hue) == (0.5, 0.1)


def _header(name: str) -> str:
    header = Path(f"configs/{name}.yaml").read_text().partition("\ndataset:")[0]
    assert "the best of the epochs that were scored on the" in header
    return header


def test_the_videos_of_activitynet_are_prepared_as_published() -> None:
    preparation = experiment.load("configs/activitynet13_video_swin_b_tallformer.yaml").preparation
    assert (preparation.fps, preparation.most_frames, preparation.size) == ("native", 768, (256, 256))


def test_the_harder_pair_differs_only_in_whether_the_encoder_learns() -> None:
    """Their scores are compared: data, windows, detector, optimizer, schedule and evaluation are the same."""
    stored, bank = (
        experiment.load(f"configs/harder_efficientnet_{name}.yaml") for name in ("actionformer", "bank_actionformer")
    )
    for section in ("dataset", "detector", "optimizer", "schedule", "average", "training", "suppression", "evaluation"):
        assert getattr(stored, section) == getattr(bank, section), section
    windows = ("fps", "clip_frames", "stride_frames", "max_steps", "crop_ratio", "min_kept", "dtype")
    assert stored.features.spacing == bank.features.spacing
    for name in windows:
        assert getattr(stored.features, name) == getattr(bank.features, name), name
    assert stored.features.encoder is not None
    assert stored.features.encoder.frame_steps() == bank.features.encoder.frame_steps()
    assert bank.features.bank_store == stored.features.path  # the bank starts from what the other one trains on

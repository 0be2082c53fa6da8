"""The learnable set in data/ has the fixture's values, and its config has the settings of the official run."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml

from actloc import experiment
from actloc.annotations.form import read
from actloc.commands import prepare
from actloc.detectors import actionformer
from actloc.experiment import Experiment
from actloc.sources import folders
from tests.golden.cases import GOLDEN

CONFIG = "configs/learnable_actionformer.yaml"
# of the original learn_ann.json, and of the names and int8 values of learn_features_int8_eighths.npz, sorted by name
ANNOTATIONS_SHA256 = "472a9834a41a23c97420479191451fce79d20d86d40308543a65f92c575fb196"
FEATURES_SHA256 = "085e3b759259eed2dcf0b86c29de8423cd94ecfb9c57b568f3a275dcf338d584"


@pytest.fixture
def prepared(tmp_path: Path) -> Experiment:
    """The config after `prepare`."""
    loaded = experiment.load(CONFIG, [f"dataset.folder={tmp_path}"], check_inputs=True)
    assert prepare.run(loaded) == 0
    return loaded


def test_the_whole_set_is_prepared_and_every_video_fits_its_features(prepared: Experiment) -> None:
    annotations = read(prepared.dataset.annotations_file)
    subsets = [prepared.dataset.training_subset, prepared.dataset.evaluation_subset]
    sources = [prepared.features.build(annotations, subset) for subset in subsets]
    assert [len(source.videos) for source in sources] == [60, 40]
    assert sum(len(video.actions) for video in sources[1].videos) == 76
    assert {source.in_channels for source in sources} == {24}
    assert len(annotations.classes) == 5


def test_features_and_annotations_are_those_of_the_fixture(prepared: Experiment) -> None:
    annotations = Path("data/learnable/annotations.json")
    assert hashlib.sha256(annotations.read_bytes()).hexdigest() == ANNOTATIONS_SHA256
    assert isinstance(prepared.features, folders.Config)
    digest = hashlib.sha256()
    for video_id, video in sorted(read(annotations).videos.items()):
        (file,) = prepared.features.files(video)
        eighths = 8 * file.read()
        assert (eighths == eighths.to(torch.int8)).all()
        digest.update(video_id.encode() + eighths.to(torch.int8).numpy().tobytes())
    assert digest.hexdigest() == FEATURES_SHA256


def test_the_settings_are_those_of_the_official_run() -> None:
    official = yaml.safe_load((GOLDEN / "e2e" / "learn.yaml").read_text())
    data, model, train, test = (official[name] for name in ("dataset", "model", "train_cfg", "test_cfg"))
    ours = experiment.load(CONFIG)
    features, detector = ours.features, ours.detector
    assert isinstance(detector, actionformer.Config)
    assert (features.clip_frames, features.stride_frames) == (data["num_frames"], data["feat_stride"])
    assert (features.max_steps, features.min_kept) == (data["max_seq_len"], data["trunc_thresh"])
    assert features.crop_ratio == tuple(data["crop_ratio"])
    blocks = [detector.num_embedding_convs, detector.num_stem_blocks, detector.num_branch_blocks]
    assert blocks == model["backbone_arch"]
    assert {detector.dim} == {model[name] for name in ("embd_dim", "fpn_dim", "head_dim")}
    assert (detector.neck, detector.windows) == (model["fpn_type"], model["n_mha_win_size"])
    assert [list(pair) for pair in detector.regression_ranges] == model["regression_range"]
    assert detector.max_buffer_factor == model["max_buffer_len_factor"]
    assert detector.center_radius == train["center_sample_radius"]
    assert detector.initial_normaliser == train["init_loss_norm"]
    assert detector.prior_probability == train["cls_prior_prob"]
    assert detector.kept_per_level == test["pre_nms_topk"]
    optimizer, schedule = ours.optimizer, ours.schedule
    assert optimizer.clip_norm == train["clip_grad_l2norm"]
    assert [optimizer.learning_rate, optimizer.weight_decay, schedule.epochs, schedule.warmup_epochs] == [
        official["opt"][name] for name in ("learning_rate", "weight_decay", "epochs", "warmup_epochs")
    ]
    assert ours.training.batch_size == official["loader"]["batch_size"]
    suppression = ours.suppression
    assert (suppression.min_score, suppression.max_kept) == (test["min_score"], test["max_seg_num"])
    assert (suppression.multiclass, suppression.voting_threshold) == (test["multiclass_nms"], test["voting_thresh"])
    # official defaults of what learn.yaml does not set
    assert (detector.num_heads, detector.drop_path, detector.dropout, detector.shortest_steps) == (4, 0.1, 0.0, 0.05)
    assert (detector.score_threshold, suppression.method, suppression.sigma) == (0.001, "soft", 0.5)
    assert (ours.average.decay, ours.average.warm_up) == (0.999, False)

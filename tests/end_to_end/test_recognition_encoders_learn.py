"""TANet and DualFormer as the encoder of a detector, under every preset that trains clip by clip."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from actloc import experiment
from actloc.datasets.base import read_prepared
from actloc.end_to_end.encoder_memory import Encoding, encoder_bytes
from actloc.end_to_end.presets import FOR_ANY_ENCODER
from actloc.errors import UserError
from actloc.layers.multiply_adds import multiply_adds
from actloc.localization import training
from actloc.sources.encoded import Config as EncodedConfig
from actloc.training.distributed import ALONE
from actloc.training.trainer import Trainer
from tests.end_to_end.test_dualformer_run import ENCODER, TOY
from tests.live.windows import live
from tests.toy import TEST_VIDEOS, actloc, copy_toy, predicts_as_it_scored

TANET = TOY.replace(TOY[TOY.index("  encoder:") : TOY.index("  fps:")], "  encoder: ENCODER\n").replace(
    "clip_frames: 4\n  stride_frames: 4", "clip_frames: 8\n  stride_frames: 8"
)
FILES = {
    "tanet": TANET.replace("ENCODER", "{name: tanet, short_side: 128, crop: 112, weights: tanet.pth}"),
    "dualformer": TOY.replace("name: dualformer", "name: dualformer, drop_path: 0"),
}
LEARNING_STAGES = {"etad": [2, 3], "tallformer": [2, 3], "frozen": []}
"""Of the presets that do not train all four."""


@pytest.fixture(scope="module", params=FILES)
def folder(request: pytest.FixtureRequest, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared, with the weights of the encoder and the features that a bank starts from."""
    folder = copy_toy(toy, tmp_path_factory.mktemp(request.param) / "toy")
    (folder / "toy.yaml").write_text(FILES[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if request.param == "tanet":
            config = experiment.load("toy.yaml").features.encoder
            assert config is not None
            torch.manual_seed(0)
            torch.save(config.in_published_names(config.network().state_dict()), "tanet.pth")
        for command in (("prepare",), ("extract-features", "features.preset=bank_replay", "features.bank=stored")):
            done = actloc(folder, command[0], "toy.yaml", *command[1:])
            assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("preset", FOR_ANY_ENCODER)
def test_a_step_changes_the_stages_that_learn_and_no_statistics(
    folder: Path, tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    settings = [f"features.preset={preset}", "features.encoder.rate_factor=1", "schedule.warmup_epochs=0"]
    settings.append(f"run.folder={tmp_path}")
    settings += ["features.bank=stored"] if preset in ("tallformer", "bank_replay") else []
    loaded = experiment.load("toy.yaml", [*settings, "features.max_steps=16", "training.batch_size=1"])
    with ExitStack() as held:
        learner = training.prepare(loaded, read_prepared(loaded.dataset, ""), ALONE, held, is_new=True).learner
        learner.begin()
        trainer = Trainer(
            learner,
            loaded.run_folder,
            optimizer=loaded.optimizer,
            schedule=loaded.schedule,
            average=loaded.average,
            training=loaded.training,
            seed=0,
            num_workers=0,
            about={},
        )
        encoder = learner.modules["encoder"].network
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        numbers = trainer.train_step(next(iter(trainer.loader.batches(0, 1))))
        assert numbers["train/loss/total"] > 0
        after = encoder.state_dict()
        names = {id(weight): name for name, weight in encoder.named_parameters()}
        stages = LEARNING_STAGES.get(preset, [0, 1, 2, 3])
        for number, stage in enumerate(encoder.stages()):
            weights = [weight for block in stage for weight in block.parameters()]
            gradients = [weight.grad for weight in weights]
            if number in stages:
                assert all(one is not None for one in gradients), f"stage {number}"
                assert any(one.abs().max() > 0 for one in gradients if one is not None)
                assert all(not torch.equal(before[names[id(one)]], one) for one in weights)
            else:
                assert all(one is None for one in gradients), f"stage {number}"
                assert all(torch.equal(before[names[id(one)]], one) for one in weights)
        norms = {name for name, module in encoder.named_modules() if isinstance(module, _BatchNorm)}
        statistics = [name for name in before if name.rpartition(".")[0] in norms and name.endswith(("_mean", "_var"))]
        assert statistics
        assert all(torch.equal(before[name], after[name]) for name in statistics)


def test_adapters_are_refused_with_the_encoder_that_has_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(
        UserError, match=r"as features\.preset=adatad sets it, but the encoder \w+ has none; .*videomae"
    ):
        experiment.load("toy.yaml", ["features.preset=adatad"])


def test_the_shipped_config_of_tanet_costs_what_its_header_says() -> None:
    name = "thumos14_tanet_actionformer"
    header = Path(f"configs/{name}.yaml").read_text().partition("\ndataset:")[0]
    features = experiment.load(f"configs/{name}.yaml").features
    assert isinstance(features, EncodedConfig)
    clip = (8, 112, 112, 3)
    with torch.device("meta"):
        network = features.encoder.network()
        cost = multiply_adds(network, lambda: network.logits(network.encode(torch.zeros(1, *clip))))
    assert cost / 1e9 == pytest.approx(8.64, abs=0.005)
    assert f"{cost / 1e9:.1f} G multiply-adds" in header
    encoding = Encoding(clip, torch.uint8, learning=features.chunk, others=0, chunk=features.chunk)
    for trainable, setting in ((features.encoder.trainable, "a call of 16 clips"), ("all", "features.preset=chunked")):
        network = features.encoder.network()
        network.set_trainable(trainable)
        kept = encoder_bytes(live(network, chunk=features.chunk), encoding, has_gradients=False).held
        assert kept / features.chunk <= 0.21 * 2**30
        assert f"{setting} keeps {kept / 2**20:,.0f} MB" in " ".join(header.replace("\n#", " ").split())


ON_TOY = (
    "dataset={name: custom, folder: prepared, videos: videos, annotations: labels.csv}",
    *("run.name=toy", "features.fps=8", "training.batch_size=1", "training.accumulate=1"),
    *("machine.device=cpu", "machine.decoders=1", "schedule.epochs=1"),
)
SHIPPED = {  # with a small network, few steps and a small detector
    "tanet": (
        "thumos14_tanet_actionformer",
        *("features.encoder.weights=tanet.pth", "features.encoder.short_side=40", "features.encoder.crop=32"),
        *("features.max_steps=32", "features.window_steps=32", "schedule.warmup_epochs=1"),
        "detector={name: actionformer, dim: 16, num_heads: 2, windows: 5, num_branch_blocks: 2, regression_ranges: "
        "[[0, 4], [4, 8], [8, 10000]], initial_normaliser: 10}",
    ),
    "dualformer": (
        "thumos14_dualformer_t_tallformer",
        ENCODER.replace("{name: dualformer, ", "features.encoder={name: dualformer, resize: square, "),
        *("features.bank=small", "features.clip_frames=4", "features.stride_frames=4"),
        *("features.max_steps=12", "features.window_steps=12", "training.checkpoint_every_epochs=1"),
        *("schedule.restart_epochs=1", "schedule.warmup_steps=3", "evaluation={weights: averaged}"),
        "detector={name: tallformer, dim: 16, consistency_layers: 1, consistency_heads: 4, windows: [5], num_heads: 2, "
        "head_dim: 8}",
    ),
}


def test_a_shipped_config_is_planned_trained_scored_and_applied(folder: Path, tmp_path: Path) -> None:
    """On the toy set; the last video is predicted from its file as it was scored."""
    copied = copy_toy(folder, tmp_path / "toy")
    name, *settings = SHIPPED["tanet" if (folder / "tanet.pth").is_file() else "dualformer"]
    shipped = str(Path(f"configs/{name}.yaml").absolute())
    if "features.bank=small" in settings:
        done = actloc(copied, "extract-features", shipped, *ON_TOY, *settings)
        assert done.returncode == 0, done.stderr
    dry = actloc(copied, "train", shipped, "--dry-run", "--json", *ON_TOY, *settings)
    assert dry.returncode == 0, dry.stderr
    (plan,) = [json.loads(line) for line in dry.stdout.splitlines() if '"plan"' in line]
    assert plan["missing"] == []
    assert plan["bytes"]["encoder"] > 0
    for command in (("train", shipped, *ON_TOY, *settings), ("eval", "ckpt/toy")):
        done = actloc(copied, *command)
        assert done.returncode == 0, done.stderr
    assert predicts_as_it_scored(copied, TEST_VIDEOS[1])

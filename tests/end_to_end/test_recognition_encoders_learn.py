"""TANet and DualFormer as the encoder of a detector, under every preset that trains clip by clip."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from actloc import experiment
from actloc.end_to_end.presets import FOR_ANY_ENCODER
from actloc.errors import UserError
from actloc.localization import training
from actloc.training.distributed import ALONE
from actloc.training.trainer import Trainer
from tests.end_to_end.test_dualformer_run import TOY
from tests.toy import actloc, copy_toy

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
    folder: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    settings = [f"features.preset={preset}", "features.encoder.rate_factor=1", "schedule.warmup_epochs=0"]
    settings += ["features.bank=stored"] if preset in ("tallformer", "bank_replay") else []
    loaded = experiment.load("toy.yaml", [*settings, "features.max_steps=16", "training.batch_size=1"])
    with ExitStack() as held:
        learner = training.prepare(loaded, ALONE, held, is_new=True).learner
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
    with pytest.raises(UserError, match=r"as features\.preset=adatad sets it, but the encoder \w+ has none.*videomae"):
        experiment.load("toy.yaml", ["features.preset=adatad"])

"""Made-up weights: every encoder reads them like its authors' files, and existing files are kept."""

from pathlib import Path

import pytest
import torch

from actloc.encoders import dualformer, i3d, r2plus1d, slowfast, tanet, video_swin, videomae, videomae2
from actloc.encoders.base import PublishedConfig
from actloc.weights import published
from scripts import made_up_weights
from tests.golden.fill import fill

ENCODERS: dict[str, tuple[PublishedConfig, str]] = {
    "dualformer": (dualformer.Config(), "blocks.0.1.attn.lr.1.running_var"),
    "i3d": (i3d.Config(stream="both", flow="raft"), "streams.flow.Mixed_5b.b0.bn.running_var"),
    "tsp": (r2plus1d.Config(), "layer4.2.conv2.1.running_var"),
    "torchvision": (r2plus1d.Config(variant="r3d_18"), "layer4.1.conv2.1.running_var"),
    "epic": (slowfast.Config(), "s5.pathway1_res2.branch2.c_bn.running_var"),
    "ego4d": (slowfast.Config(depth=101), "s5.pathway1_res2.branch2.c_bn.running_var"),
    "tanet": (tanet.Config(frames=16), "layer3.5.tam.kernel.1.running_var"),
    "video_swin": (video_swin.Config(size="tiny"), "layers.2.blocks.5.mlp.norm.weight"),
    "videomae": (videomae.Config(size="small", adapters=videomae.Adapters()), "blocks.11.norm2.weight"),
    "videomae2": (videomae2.Config(size="small"), "blocks.11.norm2.weight"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the recipes and no weights."""
    (tmp_path / "configs").symlink_to(Path("configs").absolute())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_reads_them_like_its_authors_files_and_warns_that_they_are_made_up(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, weight = ENCODERS[name]
    for place, file, make in made_up_weights.needed(config):
        made_up_weights.write(place or published.FOLDER / file.name, make)
    encoder = config.build()
    found = encoder.state_dict()[weight]
    expected = fill(weight.removeprefix("streams.flow."), tuple(found.shape))
    assert torch.equal(found, torch.from_numpy(expected))
    printed = capsys.readouterr().err
    assert printed.count("are made up: features made with them mean nothing") == len(
        list(made_up_weights.needed(config))
    )


def test_existing_files_are_kept_and_files_named_in_the_settings_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = folder / "data/weights/rgb_imagenet.pt"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"the real ones")
    arguments = ["i3d_thumos", "i3d_anet", "features.encoder.flow_weights=elsewhere/flow.pt"]
    monkeypatch.setattr("sys.argv", ["made_up_weights", *arguments])
    made_up_weights.main()
    assert real.read_bytes() == b"the real ones"
    assert {path.name for path in folder.rglob("*.p*") if path.is_file()} == {"rgb_imagenet.pt", "flow.pt"}
    printed = capsys.readouterr()
    assert printed.out.startswith("Wrote made-up weights: elsewhere/flow.pt, 51 MB")
    assert "Kept data/weights/rgb_imagenet.pt, which exists" in printed.err
    assert "mean nothing" in printed.err.splitlines()[-1]


def test_a_wrong_name_is_reported_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["made_up_weights", "i3d_thumos", "i3d_thumoss"])
    with pytest.raises(SystemExit) as ended:
        made_up_weights.main()
    assert ended.value.code == 2
    assert not (folder / "data").exists()

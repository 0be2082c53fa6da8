"""What a bank saves: pictures that are not decoded and clips that are not encoded, in counts."""

import shutil
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.encoders import videomae2
from actloc.encoders.base import FromStage
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.choosing import number_of
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.presets import PRESETS
from actloc.settings.sections import MachineSettings
from actloc.sources.encoded import Config
from actloc.structures import Visit
from actloc.video.base import OPEN_VIDEOS
from tests.live.windows import live, window
from tests.videos import ffmpeg

NUM_VIDEOS, NUM_WINDOWS = OPEN_VIDEOS + 1, 100  # when a video comes again, none of its pictures are still in memory


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    """Videos of 1,500 pictures, with a key frame every 30 of them."""
    folder = tmp_path_factory.mktemp("long")
    source = ("-f", "lavfi", "-i", "testsrc2=s=32x32:r=15:d=100")
    ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "30", "-pix_fmt", "yuv420p",
           folder / "0.mp4")  # fmt: skip
    for number in range(1, NUM_VIDEOS):
        shutil.copyfile(folder / "0.mp4", folder / f"{number}.mp4")
    names = [str(number) for number in range(NUM_VIDEOS)]
    scene = (Action(40.0, 60.0, "run"),)
    return Annotations(
        ("run",), {name: AnnotatedVideo(name, "train", scene, file=folder / f"{name}.mp4") for name in names}
    )


def frames_decoded(annotations: Annotations, **settings: Any) -> int:
    """For training windows of 480 frames, which begin anywhere, with clips of 32."""
    size = {"dim": 4, "depths": (1, 1, 1, 1), "heads": (1, 1, 1, 1)}
    encoder = {"name": "video_swin", "size": size, "side": 32, "crop": 32}
    spacing = {"fps": "native", "clip_frames": 32, "stride_frames": 32, "clip_origin": "window", "max_steps": 240}
    block = {"encoder": encoder, "crop_ratio": None, **spacing, **settings}
    config = Config.model_validate(Config.expanded(block))
    encoding = config.live_encoder(torch.device("cpu"), MachineSettings(), "float32", None)
    try:
        source = config.build(annotations, "train", encoding)
        before = encoding.reader.frames_decoded
        for number in range(NUM_WINDOWS):
            epoch, index = divmod(number, NUM_VIDEOS)
            visit = Visit(seed=0, epoch=epoch)
            drawn = source.training_sample(index, visit.generator(index), visit).payload
            assert isinstance(drawn, ClipWindow)
            assert len(drawn.clips) == 15
            assert drawn.held is not None
        return encoding.reader.frames_decoded - before
    finally:
        encoding.close()


def test_clips_that_a_bank_has_are_not_decoded(annotations: Annotations) -> None:
    full = frames_decoded(annotations, preset="full")
    assert full >= NUM_WINDOWS * 480
    for preset in ("tallformer", "bank_replay"):
        banked = frames_decoded(annotations, preset=preset, bank="stored", fraction=0.15)
        assert NUM_WINDOWS * 2 * 32 <= banked <= 0.25 * full, preset


def flops(encoder: ClipEncoder, preset: str, num_clips: int, kept_chunks: int | None = None) -> int:
    """Of the encoder in a step with a preset's clips and route, and with its number of kept chunks unless stated."""
    settings = PRESETS[preset]
    kept = settings.get("kept_chunks", 0) if kept_chunks is None else kept_chunks
    count = number_of(num_clips, settings["fraction"], settings.get("round_to", 1))
    is_banked = settings.get("others") == "bank"
    clips = window(num_clips, (2, 32, 32, 3), learning=set(range(count)), others_are_stored=is_banked)
    encoding = live(encoder, route=settings["route"], chunk=4, kept_chunks=kept)
    with FlopCounterMode(display=False) as counted:
        (vectors,) = encoding.vectors([clips])
        vectors.square().sum().backward()  # type: ignore[no-untyped-call]
        encoding.backward()
    return counted.get_total_flops()


@pytest.mark.parametrize("trainable", ["all", FromStage(from_stage=2)])
def test_a_bank_saves_a_third_of_the_arithmetic_of_sampled_gradients(trainable: Any) -> None:
    encoder = videomae2.Config.small().network().eval()
    encoder.set_trainable(trainable)
    etad = flops(encoder, "etad", 64)
    assert flops(encoder, "bank_replay", 64, kept_chunks=0) <= 0.65 * etad
    assert flops(encoder, "bank_replay", 64) <= 0.60 * etad
    assert flops(encoder, "bank_replay", 64, kept_chunks=5) <= 0.52 * etad  # all 19 clips


def test_with_all_weights_learning_a_bank_costs_less_than_sampled_gradients_of_the_later_stages() -> None:
    """As the presets are: the backward pass through the early stages is what `etad` does not pay for."""
    encoder = videomae2.Config.small().network().eval()
    encoder.set_trainable(FromStage(from_stage=2))
    etad = flops(encoder, "etad", 64)
    encoder.set_trainable("all")
    for kept_chunks, most in ((0, 0.74), (1, 0.70), (5, 0.56)):
        assert flops(encoder, "bank_replay", 64, kept_chunks) <= most * etad

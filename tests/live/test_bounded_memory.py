"""What replay is for: memory that does not grow with the window. MB are 2^20 bytes."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from actloc.detectors import etad
from actloc.encoders import r2plus1d, videomae2
from actloc.encoders.base import FromStage
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.choosing import number_of
from actloc.end_to_end.memory import SavedBytes
from actloc.structures import Targets
from tests.live.windows import live, window
from tests.toy import ROOT
from tests.videos import ffmpeg

CLIP = (16, 112, 112, 3)
FRAMES = {"short": 1_536, "long": 30_720}


def saved_mb(
    encoder: ClipEncoder,
    num_clips: int,
    route: str,
    chunk: int,
    fraction: float = 1.0,
    others: str = "no_gradient",
    round_to: int = 1,
) -> float:
    """The peak of the bytes kept for the backward pass of a step."""
    count = number_of(num_clips, fraction, round_to) if fraction < 1 else num_clips
    clips = window(num_clips, CLIP, learning=set(range(count)), others_are_stored=others == "bank")
    encoding = live(encoder, route=route, chunk=chunk)
    with SavedBytes([*encoder.parameters(), *encoder.buffers()]) as counted:
        (vectors,) = encoding.vectors([clips])
        if others == "bank":
            vectors = clips.with_stored(vectors, torch.zeros(num_clips, *vectors.shape[1:]))
        clips.rows(vectors).square().sum().backward()  # type: ignore[no-untyped-call]
        encoding.backward()
    return counted.peak / 2**20


def shapes_of(encoder: ClipEncoder) -> tuple[FakeTensorMode, ClipEncoder]:
    """The same encoder with tensors that have no values, and the mode in which nothing is computed."""
    without_values = FakeTensorMode(allow_non_fake_inputs=True)
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return without_values, copy.deepcopy(encoder, {id(one): without_values.from_tensor(one) for one in tensors})


def test_sampled_gradients_of_a_vision_transformer_fit_in_one_chunk() -> None:
    encoder = videomae2.Config(size="small").network()
    one, two = (saved_mb(encoder, count, "direct", chunk=2) for count in (1, 2))
    assert 64 * one == pytest.approx(7_215, rel=0.03)  # full backpropagation keeps every clip
    assert two == pytest.approx(2 * one, rel=0.01)
    in_fours = [saved_mb(encoder, 14, "replay", 4, fraction) for fraction in (0.3, 0.6)]  # one chunk, and two
    assert in_fours[0] <= 470
    assert in_fours[1] <= 1.05 * in_fours[0]
    assert saved_mb(encoder, 7, "replay", 1, fraction=0.3) <= 145


def test_with_a_bank_one_chunk_is_kept_however_long_the_window_is() -> None:
    encoder = videomae2.Config(size="small").network()
    computed = saved_mb(encoder, 4, "replay", 1, 0.3, "bank")
    assert computed <= 145
    without_values, shapes_only = shapes_of(encoder)
    with without_values:
        assert saved_mb(shapes_only, 4, "replay", 1, 0.3, "bank") == computed
        short, long = (saved_mb(shapes_only, count, "replay", 4, 0.3, "bank") for count in (64, 256))
    assert short <= 470
    assert long <= 1.05 * short


def test_a_step_of_etad_with_128_snippets_keeps_one_chunk_of_the_stages_that_learn() -> None:
    encoder = r2plus1d.Config().network()
    encoder.set_trainable(FromStage(from_stage=2))
    one = saved_mb(encoder, 1, "replay", 1)
    without_values, shapes_only = shapes_of(encoder)
    with without_values:
        assert saved_mb(shapes_only, 1, "replay", 1) == one
        found = saved_mb(shapes_only, 128, "replay", 4, 0.3, round_to=4)
    assert 4 * one <= found <= 300


def test_the_detector_of_etad_keeps_less_before() -> None:
    """Its activations are gone before the first chunk is replayed; the features are there all the time."""
    detector = etad.Config().build(512, 1, 128).train()
    features = torch.randn(1, 512, 128, requires_grad=True)
    targets = [Targets(torch.tensor([[9.5, 60.0]]), torch.tensor([0]))]
    with SavedBytes([*detector.parameters(), *detector.buffers()]) as counted:
        losses = detector.losses(features, torch.ones(1, 128, dtype=torch.bool), targets)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert counted.peak / 2**20 <= 100


PROGRAM = """
import json, resource, sys
from pathlib import Path
import torch
from torch import nn
from actloc.encoders.base import ClipEncoder, EncoderConfig
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.video.clip_reader import ClipReader
from actloc.video.windows import ClipLayout


class Config(EncoderConfig):
    def frame_steps(self): return ()
    def build(self): return Small(self)


class Small(ClipEncoder):
    channels = 8

    def __init__(self, config):
        super().__init__(config)
        self.first, self.second = nn.Conv3d(3, 8, 3, stride=2), nn.Linear(8, 8)

    def encode(self, clips):
        x = nn.functional.avg_pool3d(clips.permute(0, 4, 1, 2, 3).float() / 255, (2, 4, 4)).to(self.dtype)
        return self.second(self.first(x).relu().mean((2, 3, 4)))[:, :, None]


torch.manual_seed(0)
torch.set_num_threads(1)
path, num_frames, route = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
encoder = Small(Config(name="small")).double()
clips = num_frames // 16
layout = ClipLayout(tuple(range(0, num_frames, 16)), 16, 1, 1)
with ClipReader(1, fps="native") as reader:
    window = ClipWindow(path, num_frames, layout, 8, 0, clips, (), (64, 64, 3), "uint8", frozenset(range(clips)))
    live = LiveEncoder(encoder, reader, precision="float32", route=route, chunk=4, outside="repeat")
    rows = window.rows(live.vectors([window])[0])
    weights = torch.linspace(-1, 1, rows.numel(), dtype=rows.dtype).reshape(rows.shape)
    (rows * weights).square().sum().backward()
    live.backward()
    decoded = reader.frames_decoded
gradient = torch.cat([one.grad.flatten() for one in encoder.parameters()])
sizes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"gradient": gradient.tolist(), "decoded": decoded, "self": sizes[0], "worker": sizes[1]}))
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    source = f"testsrc2=s=64x64:r=30:d={FRAMES['long'] // 30}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
    return path


def measured(video: Path, frames: int, route: str) -> dict[str, object]:
    """A fresh process, in which freed memory returns to the system at once: else malloc's habits are measured too."""
    settings = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", PROGRAM, str(video), str(frames), route]
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_the_exact_gradient_of_a_window_of_any_length_in_the_same_memory(video: Path) -> None:
    full = measured(video, FRAMES["short"], "direct")
    short, long = (measured(video, frames, "replay") for frames in FRAMES.values())
    found, expected = (torch.tensor(one["gradient"], dtype=torch.float64) for one in (short, full))
    assert (found - expected).norm() <= 1e-10 * expected.norm()
    assert long["self"] <= 1.2 * short["self"]  # type: ignore[operator]
    assert long["worker"] <= 1.2 * short["worker"]  # type: ignore[operator]
    assert FRAMES["long"] * 64 * 64 * 3 > 350 * 2**20  # which it never holds
    for name, result in (("short", short), ("long", long)):  # once to encode and once for the replay
        assert result["decoded"] == pytest.approx(2 * FRAMES[name], rel=0.05)

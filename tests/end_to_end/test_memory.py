"""Memory does not grow with the length of a video."""

from pathlib import Path

import pytest

from actloc.store.store import FeatureStore
from tests.processes import command_of, descendants
from tests.toy import start
from tests.videos import ffmpeg

ENCODER = '''
"""2048 numbers a clip."""
from typing import Literal
from actloc.encoders.base import ClipEncoder, ResizedFrames

class Config(ResizedFrames):
    def build(self):
        return Wide(self)

    @classmethod
    def small(cls):
        return cls()

class Wide(ClipEncoder):
    channels = 2048

    def encode(self, clips):
        return clips.float().mean((1, 2, 3)).repeat(1, 683)[:, :2048, None]
'''
CONFIG = """
dataset:
  name: video_folder
  folder: prepared
  videos: videos
features:
  name: stored
  encoder: {name: wide, short_side: 48}
  path: features
  fps: 10
  clip_frames: 4
  stride_frames: 1
machine:
  device: cpu
  decoders: 1
"""


def peak_mb(folder: Path, seconds: int) -> float:
    """Of extracting one video of so many seconds, decoding included."""
    (folder / "own").mkdir(parents=True)
    (folder / "videos").mkdir()
    (folder / "own/wide.py").write_text(ENCODER)
    (folder / "wide.yaml").write_text(CONFIG)
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=10:d={seconds}", "-preset", "ultrafast", folder / "videos/a.mp4")
    main = decoding = 0.0
    with start(folder, "extract-features", "wide.yaml", forks_decoders=False, ACTLOC_CODE="own/wide.py") as running:
        while running.poll(0.1) is None:
            main = max(main, high_water_mb(running.pid))
            decoders = [pid for pid in descendants(running.pid) if "actloc.video.decode" in command_of(pid)]
            decoding = max([decoding, *map(high_water_mb, decoders)])
    assert FeatureStore(folder / "features").info("a").steps == 10 * seconds - 3
    assert decoding > 0
    return main + decoding


def high_water_mb(pid: int) -> float:
    """The most memory that the process ever held."""
    try:
        words = Path(f"/proc/{pid}/status").read_text().split()
    except OSError:  # it has ended
        return 0.0
    return int(words[words.index("VmHWM:") + 1]) / 1000 if "VmHWM:" in words else 0.0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory of other processes")
def test_an_hour_takes_at_most_200_mb_more_than_a_minute(tmp_path: Path) -> None:
    minute, hour = peak_mb(tmp_path / "minute", 60), peak_mb(tmp_path / "hour", 3600)
    assert hour - minute < 200, f"{minute:.0f} MB for a minute, {hour:.0f} MB for an hour"

"""What a recogniser gets to see: the views of an evaluation written down by hand, and frames stored as pictures."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from actloc.commands import prepare
from actloc.datasets.base import read_prepared
from actloc.experiment import Experiment, load
from actloc.recognition.clips import labelled_clips
from actloc.recognition.networks import clip_source, device_of, new_recognizer, scorer_of, views_of
from actloc.recognition.recognizer import Recognizer
from actloc.recognition.training import new_learner
from actloc.structures import Visit
from actloc.training.distributed import ALONE
from actloc.video.frame_transforms import Resize
from actloc.video.reader import read_frames

SIDE, CROP, WIDTH, HEIGHT = 32, 32, 48, 40
MOST_BY_JPEG = 4.0  # of 255, on average: the squares' edges and the noise are hard to compress


def scored(experiment: Experiment, recognizer: Recognizer, video: str) -> NDArray[np.float64]:
    """The scores by the code of `eval`."""
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    source, views = clip_source(experiment), views_of(experiment)
    clips = [clip for clip in labelled_clips(annotations, "test") if clip.id == video]
    with closing(source.reader):
        scorer = scorer_of(experiment, recognizer, device_of(experiment))
        return scorer.scored(clips, lambda clip: views.read(source, clip), views.average).scores[video]


def by_hand(
    recognizer: Recognizer, path: Path, clips: list[list[int]], side: int, corners: list[tuple[int, int]], crop: int
) -> torch.Tensor:
    """The logits of each view: frames of the whole video, resized and cut one by one."""
    frames = list(read_frames(path, fps="native"))
    resize, views = Resize("rounded_bilinear", short_side=side, rounding="nearest"), []
    for numbers in clips:
        for top, left in corners:
            cut = [resize.apply(frames[number])[top : top + crop, left : left + crop] for number in numbers]
            views.append(torch.from_numpy(np.stack(cut)))
    with torch.inference_mode():
        return torch.cat([recognizer(view[None]) for view in views]).double()


MIDDLES = [3, 9, 15, 21]  # of four equal parts of 25 frames
CENTRE = [(0, 3)]  # 38 x 32 after resizing to a short side of 32


@pytest.mark.parametrize(
    ("settings", "clips", "side", "corners", "crop"),
    [
        ([], [MIDDLES], 32, CENTRE, 32),
        (["evaluation.average=logits"], [MIDDLES], 32, CENTRE, 32),
        (["evaluation.clips=2"], [[0, 6, 12, 18], [5, 11, 17, 23]], 32, CENTRE, 32),
        (["evaluation.clips=2", "evaluation.average=logits"], [[0, 6, 12, 18], [5, 11, 17, 23]], 32, CENTRE, 32),
        (["evaluation.crops=three_along"], [MIDDLES], 32, [(0, 0), (0, 6), (0, 3)], 32),
        (["evaluation.crops=three_across", "evaluation.short_side=36"], [MIDDLES], 36, [(2, 0), (2, 8), (2, 4)], 32),
        (["evaluation.short_side=64", "evaluation.crop=64"], [MIDDLES], 64, [(0, 6)], 64),
        (["clips.sampling=interval", "clips.interval=2", "evaluation.clips=2"], None, 32, CENTRE, 32),
    ],
    ids=str,
)
def test_views_are_those_written_down_by_hand(
    folder: Path,
    settings: list[str],
    clips: list[list[int]] | None,
    side: int,
    corners: list[tuple[int, int]],
    crop: int,
) -> None:
    experiment = load("toy.yaml", settings)
    recognizer = new_recognizer(experiment, 3).eval()
    clips = clips or [[4, 6, 8, 10], [13, 15, 17, 19]]  # 18 places for a span of 8, the middles of both halves
    logits = by_hand(recognizer, folder / "videos/red5.mp4", clips, side, corners, crop)
    assert len(logits) == len(clips) * len(corners)
    is_logits = "evaluation.average=logits" in settings
    expected = logits.mean(0) if is_logits else logits.softmax(1).mean(0)
    np.testing.assert_allclose(scored(experiment, recognizer, "red5"), expected, rtol=1e-5, atol=1e-6)


def samples(*settings: str) -> dict[str, torch.Tensor]:
    """The training clips of an epoch, with all that is drawn for them."""
    experiment = load("toy.yaml", ["clips.random_crop=true", *settings])
    source = clip_source(experiment)
    with closing(source.reader):
        learner = new_learner(experiment, read_prepared(experiment.dataset, "toy.yaml"), source, ALONE)
        listed = [learner.load_sample(number, Visit(0, 1)) for number in range(learner.num_samples)]
    return {sample.video_id: sample.features for sample in listed}


def apart(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    assert some.keys() == others.keys()
    return max((some[name].float() - others[name].float()).abs().mean().item() for name in some)


def test_frames_stored_as_pictures_give_the_same_clips(folder: Path) -> None:
    online = samples()
    stored = ("preparation.videos=png", "dataset.folder=png")
    prepare.run(load("toy.yaml", list(stored)))
    assert len(list((folder / "png/frames_png").iterdir())) == 18
    assert apart(samples(*stored), online) == 0
    compressed = ("preparation.videos=frames", "preparation.fps=native", f"preparation.short_side={HEIGHT}")
    prepare.run(load("toy.yaml", [*compressed, "dataset.folder=jpeg"]))
    assert 0 < apart(samples(*compressed, "dataset.folder=jpeg"), online) < MOST_BY_JPEG


def test_folders_of_frames_of_ones_own_are_listed_and_read(folder: Path) -> None:
    online = samples()
    prepare.run(load("toy.yaml", ["preparation.videos=png", "dataset.folder=png"]))
    annotations = json.loads((folder / "prepared/annotations.json").read_text())
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for name, video in annotations["database"].items():
        (stored,) = (folder / "png/frames_png").glob(f"{name}-*")
        pictures = sorted(stored.glob("*.png"))
        (folder / "frames" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures, 1):
            shutil.copy(picture, folder / "frames" / name / f"img_{number:05d}.png")
        label = annotations["classes"].index(video["annotations"][0]["label"])
        lists[video["subset"]].append(f"/elsewhere/{name} {len(pictures)} {label}")
    for subset, lines in lists.items():
        (folder / f"{subset}.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("blue\ngreen\nred\n")
    dataset: dict[str, Any] = {"name": "clip_lists", "folder": "listed", "videos": "frames", "classes": "classes.txt"}
    dataset |= {"training_list": "train.txt", "test_list": "test.txt"}
    given = "dataset=" + json.dumps(dataset)
    # pictures are what `png` would make of them, so they stay where they are
    for preparation in ("keep", "png"):
        settings = (given, f"preparation.videos={preparation}", f"dataset.folder=listed_{preparation}")
        prepare.run(load("toy.yaml", list(settings)))
        assert apart(samples(*settings), online) == 0
        assert not (folder / f"listed_{preparation}/frames_png").exists()

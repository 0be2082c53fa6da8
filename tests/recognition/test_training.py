"""Steps of a recogniser on the toy clips: how they may be divided, which labels they learn, what a dry run says."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import train
from actloc.datasets.base import read_prepared
from actloc.end_to_end.memory import LiveBytes
from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.recognition import dry_run, training
from actloc.recognition.clips import LabelledClip, TrainingClips, labelled_clips
from actloc.recognition.learner import RecognitionLearner
from actloc.recognition.networks import RecognitionSections, clip_source
from actloc.recognition.training import new_learner
from actloc.structures import Batch, Visit
from actloc.training.distributed import ALONE
from actloc.training.trainer import Trainer
from tests.toy import training_rows
from tests.toy_clips import DUALFORMER, VIDEOMAE

MOST_WRONG = 0.02
CLASSES = ("Pulling something from left to right", "Pulling something from right to left", "waving")


@contextmanager
def learning(*settings: str) -> Iterator[tuple[Experiment, RecognitionLearner]]:
    experiment = load("toy.yaml", list(settings))
    source = clip_source(experiment)
    with closing(source.reader):
        annotations = read_prepared(experiment.dataset, experiment.arguments)
        yield experiment, new_learner(experiment, annotations, source, ALONE)


def labelled_by(file: str) -> list[str]:
    return [f"token_labels.annotator={DUALFORMER[:-1]}, weights: {file}}}"]


def trainer_of(experiment: Experiment, learner: RecognitionLearner) -> Trainer:
    return Trainer(
        learner,
        experiment.run_folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=0,
        num_workers=0,
        about={},
    )


def stepped(encoder: str, size: int, accumulate: int) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """What two steps on the same clips log, in float64, and the weights after them."""
    sizes = (f"training.batch_size={size}", f"training.accumulate={accumulate}", "optimizer.name=sgd")
    with learning(f"clips.encoder={encoder}", *sizes) as (experiment, learner):
        learner.recognizer.double()
        trainer = trainer_of(experiment, learner)
        for batches in trainer.loader.batches(0, 2):
            values = trainer.train_step(batches)
        return values, {name: one.detach() for name, one in learner.recognizer.named_parameters()}


def test_accumulated_passes_are_the_large_batch_without_batch_norms_and_not_with_them(folder: Path) -> None:
    for encoder, is_same in ((VIDEOMAE, True), (DUALFORMER, False)):
        large, weights = stepped(encoder, 6, 1)
        small, others = stepped(encoder, 2, 3)
        assert (small == pytest.approx(large, rel=1e-6)) == is_same
        scale = max(one.abs().max().item() for one in weights.values())
        apart = max((weights[name] - others[name]).abs().max().item() for name in weights)
        assert (apart < 1e-7 * scale) == is_same


@pytest.mark.parametrize(
    ("encoder", "is_warned"), [(VIDEOMAE, False), (DUALFORMER, True), (f"{DUALFORMER[:-1]}, trainable: none}}", False)]
)
def test_passes_are_warned_of_where_batch_norms_learn(
    folder: Path, capsys: pytest.CaptureFixture[str], encoder: str, is_warned: bool
) -> None:
    experiment = load("toy.yaml", [f"clips.encoder={encoder}", "training.accumulate=3"])
    with ExitStack() as held:
        training.prepare(experiment, read_prepared(experiment.dataset, ""), ALONE, held).report_start()
    told = " ".join(capsys.readouterr().err.split())
    assert ("With training.accumulate=3 a step differs from one pass over all its clips" in told) == is_warned
    assert "12 clips of 3 classes" in told


def test_a_clip_of_several_classes_shares_its_label_among_them(folder: Path) -> None:
    path = folder / "prepared/annotations.json"
    content = json.loads(path.read_text())
    (action,) = content["database"]["red0"]["annotations"]
    content["database"]["red0"]["annotations"].append({**action, "label": "blue", "label_id": 0})
    path.write_text(json.dumps(content))
    with learning() as (_, learner):
        number = next(number for number, clip in enumerate(learner.clips.clips) if clip.id == "red0")
        assert sorted(learner.clips.clips[number].labels) == [0, 2]
        batch = Batch((learner.load_sample(number, Visit(0, 0)), learner.load_sample(0, Visit(0, 0))))
        clips, shares = learner.features(batch)
        assert clips.shape == (2, 4, 32, 32, 3)
        assert shares.tolist() == [[0.5, 0, 0.5], [1, 0, 0]]
        learner.start_step([batch])
        (loss,) = learner.losses(clips, shares, batch).values()
        log_shares = learner.recognizer(clips).log_softmax(1)
        assert loss.item() == pytest.approx(-(log_shares * shares).sum(1).mean().item(), rel=1e-5)


def test_stretches_of_a_video_are_clips_and_one_that_fills_it_is_the_video() -> None:
    video = AnnotatedVideo("v", "train", (Action(0.0, 2.0, "a"), Action(0.0, 2.0, "b"), Action(3.0, 4.0, "a")), 9.0)
    whole = AnnotatedVideo("w", "train", (Action(0.05, 8.95, "b"), Action(0.05, 8.95, "a")), 9.0)
    found = labelled_clips(Annotations(("a", "b"), {"v": video, "w": whole}), "train")
    assert found == [
        LabelledClip(video, (0, 1), 0.0, 2.0),
        LabelledClip(video, (0,), 3.0, 4.0),
        LabelledClip(whole, (1, 0)),
    ]
    assert [clip.id for clip in found] == ["v 0.000000-2.000000 s", "v 3.000000-4.000000 s", "w"]
    assert LabelledClip(video, (), 0.001, 1.001).id != LabelledClip(video, (), 0.002, 1.002).id  # windows lie so close


def test_a_mirrored_clip_gets_the_label_of_the_other_direction(folder: Path) -> None:
    drawn = []
    for share in (0, 1):
        experiment = load("toy.yaml", [f"clips.mirror={share}"])
        source, settings = clip_source(experiment), RecognitionSections.of(experiment).clips
        videos = read_prepared(experiment.dataset, "toy.yaml").of_subset("train")
        clips = [LabelledClip(videos[0], (0,)), LabelledClip(videos[1], (1, 2))]
        with closing(source.reader):
            drawing = TrainingClips(source, clips, CLASSES, settings, allow_missing=False)
            drawn.append([drawing.sample(number, Visit(0, 0)) for number in range(2)])
    plain, mirrored = drawn
    assert [sample.targets.labels.tolist() for sample in plain] == [[0], [1, 2]]
    assert [sample.targets.labels.tolist() for sample in mirrored] == [[1], [0, 2]]
    assert torch.equal(mirrored[0].features, plain[0].features.flip(3))
    assert not torch.equal(mirrored[0].features, plain[0].features)


def peak_of_the_second_step(experiment: Experiment, learner: RecognitionLearner) -> int:
    trainer = trainer_of(experiment, learner)
    first, second = trainer.loader.batches(0, 2)
    trainer.train_step(first)
    trainer.optimizer.zero_grad(set_to_none=True)
    networks = [one.network for one in learner.modules.values()]
    networks += [] if learner.annotator is None else [learner.annotator.recognizer]
    state = [value for values in trainer.optimizer.state.values() for value in values.values()]
    always = [
        *(tensor for network in networks for tensor in (*network.parameters(), *network.buffers())),
        *trainer.averages.state_dict().values(),
        *(value for value in state if isinstance(value, torch.Tensor)),
    ]
    del first, networks, state
    with LiveBytes(always) as live:
        trainer.train_step(second)
    return live.peak


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["training.accumulate=2", "optimizer.name=sgd", f"clips.encoder={VIDEOMAE}"],
        ["network.checkpoint_blocks=true", "training.batch_size=6"],
        ["labels"],
    ],
    ids=str,
)
def test_a_step_takes_the_memory_that_a_dry_run_reports(
    folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings == ["labels"]:
        with learning() as (_, learner):
            learner.recognizer.write_published(folder / "annotator.pth")
        settings = labelled_by("annotator.pth")
    reported: dict[str, Any] = {}
    monkeypatch.setattr(dry_run.console, "emit", lambda event, **values: reported.update({event: values}))
    assert train.run(load("toy.yaml", settings), dry_run=True) == 0
    assert not (folder / "ckpt").exists()
    with learning(*settings) as (experiment, learner):
        found = peak_of_the_second_step(experiment, learner)
    assert reported["plan"]["bytes"]["peak"] == pytest.approx(found, rel=MOST_WRONG)


def test_a_dry_run_names_what_is_missing_and_still_measures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("red0", "blue1"):
        (folder / f"videos/{name}.mp4").unlink()
    settings = ["network.start=file", "network.classifier=file"]
    assert train.run(load("toy.yaml", settings), dry_run=True) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "Missing: the files of 2 videos: blue1, red0" in told
    assert "Missing: The weights of clips.encoder, which is dualformer, have no classifier." in told
    assert "at most at the same time" in told
    assert train.run(load("toy.yaml", ["clips.allow_missing=true"]), dry_run=True) == 0


def test_a_dry_run_names_the_settings_of_the_annotator(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["token_labels.annotator={name: dualformer}", "network.start=file", "clips.encoder={name: dualformer}"]
    assert train.run(load("toy.yaml", [*settings, "clips.frames=32"]), dry_run=True) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "set its path: clips.encoder.weights=FILE" in told
    assert "set its path: token_labels.annotator.weights=FILE" in told
    assert "features.encoder" not in told


def test_token_labels_are_learned_with_the_annotator_left_out_of_the_checkpoint(folder: Path) -> None:
    with learning() as (_, learner):
        learner.recognizer.write_published(folder / "first.pth")
    with learning("run.seed=1") as (_, learner):
        learner.recognizer.write_published(folder / "second.pth")
    train.run(load("toy.yaml", [*labelled_by("first.pth"), "schedule.epochs=1"]))
    rows = training_rows(folder / "ckpt/toy")
    assert len(rows) == 3
    for row in rows:
        parts = [row["train/loss/classification"], row["train/loss/token_labels"]]
        assert min(parts) > 0
        assert row["train/loss/total"] == pytest.approx(sum(parts))
    stored = [safe_open(file, "pt").keys() for file in (folder / "ckpt/toy/ckpt_000003").glob("*.safetensors")]
    names = {name for names in stored for name in names}
    assert any("token_head" in name for name in names)
    assert not any("annotator" in name for name in names)
    with pytest.raises(UserError, match=r"The weights of token_labels\.annotator have changed since ckpt/toy started"):
        train.run(load("toy.yaml", [*labelled_by("second.pth"), "schedule.epochs=1"]), resume="ckpt_000003")
    (folder / "moved.pth").write_bytes((folder / "first.pth").read_bytes())
    train.run(load("toy.yaml", [*labelled_by("moved.pth"), "schedule.epochs=1"]), resume="ckpt_000003")

"""Every part, found by listing its folder, keeps the contract of its kind."""

import functools
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from actloc import experiment
from actloc.annotations import form as annotation_form
from actloc.encoders.base import PublishedConfig
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.evaluation.results import ResultsHead
from actloc.layers.grad_cam import Watched, class_maps
from actloc.layers.precision import computing_in
from actloc.settings import parts, yaml_text
from actloc.settings.meanings import meaning
from actloc.settings.sections import Section
from actloc.structures import Targets
from actloc.video import decode, step_messages
from actloc.video.frame_transforms import Resize
from tests.datasets.raw import RAW

ALL = [(kind, name) for kind in parts.KINDS for name in parts.available(kind)]
DETECTORS = list(parts.available("detectors"))
ENCODERS = list(parts.available("encoders"))
DATASETS = list(parts.available("datasets"))
TASKS = {  # a settings file of each
    "localization": "features: {name: folders, path: x, fps: 30, clip_frames: 16, stride_frames: 4}",
    "recognition": "clips: {encoder: {name: tanet}}",
}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_parts_name_is_the_name_of_its_file_and_every_setting_has_a_meaning(kind: str, name: str) -> None:
    config = parts.find(kind, name).Config
    assert config.model_fields["name"].default == name
    assert parts.available(kind)[name].endswith((".", ":"))
    for setting in config.model_fields:
        assert setting == "name" or meaning(config, setting), f"{kind}/{name}: {setting} has no docstring"


@pytest.mark.parametrize("name", DETECTORS)
class TestDetector:
    CHANNELS, CLASSES, STEPS = 6, 3, 64

    def build(self, name: str) -> nn.Module:
        torch.manual_seed(0)
        return parts.find("detectors", name).Config.small().build(self.CHANNELS, self.CLASSES, self.STEPS)

    def batch(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        features = torch.zeros(2, self.CHANNELS, length)
        mask = torch.zeros(2, length, dtype=torch.bool)
        for row, real in enumerate((37, 21)):
            features[row, :, :real] = torch.randn(self.CHANNELS, real, generator=generator)
            mask[row, :real] = True
        return features, mask

    TARGETS = (
        Targets(torch.tensor([[2.0, 5.0], [8.0, 16.0], [3.0, 34.0]]), torch.tensor([0, 1, 2])),
        Targets.none(),
    )

    def test_losses_are_finite_and_every_weight_gets_a_gradient(self, name: str) -> None:
        detector = self.build(name).train()
        features, mask = self.batch(detector.padded_steps(37))
        losses = detector.losses(features, mask, list(self.TARGETS))
        total = torch.stack(list(losses.values())).sum()
        assert total.isfinite()
        total.backward()
        without = [key for key, weight in detector.named_parameters() if weight.grad is None]
        assert not without

    def test_in_bfloat16_losses_and_gradients_are_float32_and_close(self, name: str) -> None:
        results = []
        for precision in ("float32", "bfloat16"):
            torch.manual_seed(1)
            detector = self.build(name).train()
            features, mask = self.batch(detector.padded_steps(37))
            with computing_in(precision, features.device):
                losses = detector.losses(features, mask, list(self.TARGETS))
            assert all(loss.dtype == torch.float32 for loss in losses.values())
            torch.stack(list(losses.values())).sum().backward()
            assert all(weight.grad.dtype == torch.float32 for weight in detector.parameters())
            results.append(losses)
        exact, rounded = results
        assert exact != rounded
        for loss, value in exact.items():
            assert rounded[loss].item() == pytest.approx(value.item(), rel=0.05)

    def test_a_batch_without_actions_trains_as_background(self, name: str) -> None:
        detector = self.build(name).train()
        features, mask = self.batch(detector.padded_steps(37))
        losses = detector.losses(features, mask, [Targets.none(), Targets.none()])
        torch.stack(list(losses.values())).sum().backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in detector.parameters())

    def test_more_padding_than_asked_for_changes_nothing(self, name: str) -> None:
        detector = self.build(name).train()
        for module in detector.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        detector.eval()
        short = detector.padded_steps(37)
        results = [detector.detect(*self.batch(length)) for length in (short, max(short, self.STEPS))]
        for first, second in zip(*results, strict=True):
            assert len(first) == len(second)
            torch.testing.assert_close(first.scores, second.scores, atol=1e-5, rtol=0)
            torch.testing.assert_close(first.segments, second.segments, atol=1e-4, rtol=0)

    def test_a_video_alone_gives_what_it_gives_in_a_batch(self, name: str) -> None:
        detector = self.build(name).eval()
        features, mask = self.batch(detector.padded_steps(37))
        together = detector.detect(features, mask)
        alone = [detector.detect(features[row : row + 1], mask[row : row + 1])[0] for row in range(2)]
        for first, second in zip(together, alone, strict=True):
            torch.testing.assert_close(first.scores, second.scores, atol=1e-6, rtol=0)

    def test_state_and_plain_numbers_make_the_round_trip(self, name: str) -> None:
        detector, other = self.build(name), self.build(name)
        features, mask = self.batch(detector.train().padded_steps(37))
        detector.losses(features, mask, list(self.TARGETS))
        other.load_state_dict(detector.state_dict())
        other.criterion.load_training_state(detector.criterion.training_state())
        assert other.criterion.training_state() == detector.criterion.training_state()

    def test_settings_make_the_round_trip(self, name: str) -> None:
        config = parts.find("detectors", name).Config
        small = config.small()
        assert config.model_validate_json(small.model_dump_json()) == small


def drawn(name: str) -> ClipEncoder:
    """The small encoder; its weights are drawn, and always the same."""
    torch.manual_seed(0)
    return parts.find("encoders", name).Config.small().network().eval()


@functools.cache
def three_clips(name: str) -> torch.Tensor:
    """Clips (3, F, H, W, c) as the encoder's own frame steps make them of noise; some compute optical flow."""
    encoder = drawn(name)
    steps, size = encoder.config.frame_steps(), (72, 96)
    if steps and decode.is_by_swscale(steps[0]):
        assert isinstance(steps[0], Resize)
        steps, size = steps[1:], steps[0].target(*size)
    generator, made = np.random.default_rng(0), []
    length = encoder.config.exact_frames or 2 * encoder.clip_multiple
    for _ in range(3):
        noise = generator.integers(0, 256, (length + 1, *size, 3), dtype=np.uint8)  # optical flow takes one more
        frames = iter([(frame, 1) for frame in noise])
        for step in steps:
            frames = step.over(frames)
        made.append(np.stack([frame for frame, _ in itertools.islice(frames, length)]))
    return torch.from_numpy(np.stack(made))


@functools.cache
def encoded_together(name: str) -> torch.Tensor:
    """What the encoder makes of the three clips in one batch."""
    with torch.inference_mode():
        return drawn(name).encode(three_clips(name))


def outputs_of(encoder: ClipEncoder, layer: str, clips: torch.Tensor) -> torch.Tensor:
    """What a layer makes of clips, call after call."""
    outputs: list[torch.Tensor] = []
    hook = encoder.map_layers()[layer].register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    with torch.inference_mode():
        encoder.encode(clips)
    hook.remove()
    return torch.cat(outputs)


@pytest.mark.parametrize("name", ENCODERS)
class TestEncoder:
    """Encoders with freshly drawn weights: those that are published are not here."""

    def test_clips_become_one_vector_each_whatever_the_batch(self, name: str) -> None:
        encoder, together = drawn(name), encoded_together(name)
        with torch.inference_mode():
            alone = torch.cat([encoder.encode(clip[None]) for clip in three_clips(name)])
        assert together.shape[:2] == (3, encoder.channels)
        assert together.dtype == torch.float32
        scale = together.abs().max()
        assert ((together - alone).abs().max() / scale) <= 1e-5

    def test_a_clip_gives_the_same_bits_wherever_it_stands_in_a_batch(self, name: str) -> None:
        together = encoded_together(name)
        with torch.inference_mode():
            turned = drawn(name).encode(three_clips(name).flip(0))
        assert not torch.equal(together[0], together[1])
        assert torch.equal(together, turned.flip(0))

    def test_two_threads_at_once_get_the_same_bits(self, name: str) -> None:
        encoder, together = drawn(name), encoded_together(name)

        def encode() -> torch.Tensor:
            with torch.inference_mode():
                return encoder.encode(three_clips(name))

        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(encode) for _ in range(2)]
        assert all(torch.equal(one.result(), together) for one in found)

    def test_gradients_reach_the_encoders_weights(self, name: str) -> None:
        encoder = drawn(name)
        weights = [weight for weight in encoder.parameters() if weight.requires_grad]
        if weights:
            encoder.encode(three_clips(name)[:1]).sum().backward()
            assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)

    def test_its_last_layer_has_a_map_of_every_clip(self, name: str) -> None:
        encoder, clips = drawn(name), three_clips(name)
        layers = encoder.map_layers()
        if not layers:
            assert not list(encoder.parameters())
            return
        with Watched(list(layers.values())[-1]) as watched:
            weights = torch.randn(3, encoder.channels, 1, generator=torch.Generator().manual_seed(1))
            watched.backward((encoder.encode(clips) * weights).sum())
        outputs, gradients = (encoder.as_maps(one, tuple(clips.shape[1:4])) for one in watched.with_gradients())
        assert outputs.dim() == 5
        assert len(outputs) == 3
        times, height, width = outputs.shape[2:]
        assert clips.shape[1] >= times >= encoder.vectors_per_clip(clips.shape[1])
        assert height / width == pytest.approx(clips.shape[2] / clips.shape[3], rel=0.5)
        assert class_maps(outputs, gradients).max() > 0
        alone = encoder.as_maps(outputs_of(encoder, list(layers)[-1], clips[1:2]), tuple(clips.shape[1:4]))
        torch.testing.assert_close(outputs[1:2], alone, rtol=0, atol=1e-4 * outputs.abs().max().item())

    def test_state_makes_the_round_trip(self, name: str) -> None:
        encoder, other = drawn(name), parts.find("encoders", name).Config.small().network().eval()
        other.load_state_dict(encoder.state_dict())
        clips = three_clips(name)[:1]
        with torch.inference_mode():
            assert torch.equal(encoder.encode(clips), other.encode(clips))

    def test_settings_and_frame_steps_make_the_round_trip(self, name: str) -> None:
        config = parts.find("encoders", name).Config
        small = config.small()
        assert config.model_validate_json(small.model_dump_json()) == small
        steps = small.frame_steps()
        assert step_messages.from_json(json.loads(json.dumps(step_messages.to_json(steps)))) == list(steps)

    def test_published_weights_that_are_not_there_are_told_with_where_they_are(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = parts.find("encoders", name).Config
        if issubclass(config, PublishedConfig):
            monkeypatch.chdir(tmp_path)
            with pytest.raises(UserError, match="published at"):
                config().build()


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_collects_checked_annotations_that_make_the_round_trip(name: str, tmp_path: Path) -> None:
    if name in RAW:
        RAW[name](tmp_path)
    config = parts.find("datasets", name).Config.small(tmp_path)
    assert any(tmp_path.iterdir()), (
        f"Config.small of {name} should write the raw form of a tiny dataset into the folder"
    )
    found = config.collect()
    annotation_form.write(config.annotations_file, found)
    assert annotation_form.read(config.annotations_file) == found
    for subset in (config.training_subset, config.evaluation_subset):
        assert any(video.actions for video in found.of_subset(subset)) or not found.classes
    assert config.collect() == found


@pytest.mark.parametrize("name", parts.available("tasks"))
class TestTask:
    """What commands rely on, whichever task it is."""

    def test_its_sections_are_classes_or_kinds_of_parts_and_have_what_commands_read(self, name: str) -> None:
        task = parts.find("tasks", name).Config()
        for key, form in task.sections.items():
            assert form in parts.KINDS if isinstance(form, str) else issubclass(form, Section), key
        common = ("run", "dataset", "preparation", "optimizer", "schedule", "average", "training", "machine")
        assert set(common) <= task.sections.keys()
        assert task.sections["dataset"] == "datasets"
        assert task.usual.keys() <= {key for key, form in task.sections.items() if isinstance(form, str)}

    def test_its_results_name_it_and_have_a_headline(self, name: str) -> None:
        results = parts.find("tasks", name).Config.results
        assert issubclass(results, ResultsHead)
        assert results.model_fields["task"].default == name
        assert results.headline is not ResultsHead.headline

    def test_its_settings_make_the_round_trip(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "short.yaml"
        dataset = "dataset: {name: video_folder, folder: a, videos: b}"
        file.write_text(f"task: {{name: {name}}}\n{dataset}\n{TASKS[name]}\n")
        loaded = experiment.load(str(file))
        assert list(loaded.sections) == ["task", *parts.find("tasks", name).Config.sections]
        file.write_text(loaded.to_yaml())
        assert experiment.load(str(file)) == loaded
        assert loaded.shaping("weights")["task.name"] == name

    def test_wrong_sections_are_no_problem_of_their_combinations(self, name: str, tmp_path: Path) -> None:
        config = parts.find("tasks", name).Config
        (tmp_path / "empty.yaml").write_text("{}")
        document = yaml_text.read(tmp_path / "empty.yaml", [])
        assert config.problems(document, dict.fromkeys(["task", *config.sections])) == []

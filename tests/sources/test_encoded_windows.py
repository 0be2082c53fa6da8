"""Windows with clips of their own, and padding that is encoded: at a video's ends, and in longer and resized ones."""

import random
from typing import Any

import pytest
import torch

from tests.sources.test_encoded import Build, build, config, payload, rows

__all__ = ["build"]  # the fixture


def test_padding_is_encoded_up_to_the_longest_window_and_longer_videos_are_encoded_whole(build: Build) -> None:
    plain, filled = build(config(preset="frozen")), build(config(preset="frozen", encode_padding=True))
    (sample,) = filled.evaluation_samples(0)
    assert sample.num_steps > filled.config.max_steps
    torch.testing.assert_close(rows(filled, sample), rows(plain, plain.evaluation_sample(0)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("align", ["valid", "padded", "centred"])
@pytest.mark.parametrize("step_time", ["centre", "start"])
def test_a_window_at_any_frame_has_its_actions_where_the_whole_video_has_them(
    build: Build, align: str, step_time: str
) -> None:
    settings: dict[str, Any] = {"preset": "frozen", "align": align, "step_time": step_time, "min_kept": 0.1}
    source = build(config(clip_origin="window", **settings))
    whole = source.evaluation_sample(0)
    lead = payload(whole).layout.first_frames[0]
    found = 0
    for seed in range(20):
        sample = source.training_sample(0, random.Random(seed))
        first_row, rest = divmod(payload(sample).layout.first_frames[0] - lead, 2)
        begin = first_row + rest / 2
        actions = sample.targets.segments + begin
        inside = (actions > begin) & (actions < begin + sample.num_steps)  # the ends that are not cut
        found += int(inside.sum())
        torch.testing.assert_close(actions[inside], whole.targets.segments.expand_as(actions)[inside])
        if rest == 0:
            expected = rows(source, whole)[:, first_row : first_row + sample.num_steps]
            made = rows(source, sample)[:, : expected.shape[1]]
            inner = slice(1, min(whole.num_steps - first_row, sample.num_steps) - 2)
            torch.testing.assert_close(made[:, inner], expected[:, inner], rtol=1e-4, atol=1e-4)
    assert found


@pytest.mark.parametrize("align", ["valid", "padded", "centred"])
@pytest.mark.parametrize("step_time", ["centre", "start"])
def test_actions_are_cut_no_sooner_than_at_the_ends_of_a_window(build: Build, align: str, step_time: str) -> None:
    source = build(config(preset="frozen", align=align, step_time=step_time, min_kept=0.01))
    for seed in range(10):
        sample = source.training_sample(0, random.Random(seed))
        ((start, end),) = source.evaluation_sample(0).targets.segments - sample.first_step
        for kept in sample.targets.segments:
            assert kept[0] <= max(start, 0)
            assert kept[1] >= min(end, sample.num_steps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encode_padding": True, "resize_to": 20}, r"encode_padding: found True, which has no effect because"),
        ({"encode_padding": True, "align": "backpad"}, r"align: found backpad, expected valid, padded or centred"),
        ({"clip_origin": "window", "align": "backpad"}, r"align: found backpad, expected valid, padded or centred"),
        ({"clip_origin": "random", "align": "backpad"}, r"align: found backpad, expected valid, padded or centred"),
    ],
)  # fmt: skip
def test_windows_whose_clips_would_not_be_those_of_the_settings_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(preset="frozen", **settings)

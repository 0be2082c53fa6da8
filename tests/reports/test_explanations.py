import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from actloc.errors import UserError
from actloc.reports.explanations import Explanation, Saliency, contact_sheet, magma, overlay, write


def made(number: int = 20, height: int = 48, width: int = 64) -> Explanation:
    """Grey pictures whose heat moves from left to right."""
    heat = np.zeros((number, height, width), np.float32)
    for place in range(number):
        heat[place, :, : (place + 1) * width // number] = 1.0
    times = 2.0 + np.arange(number) / 5
    return Explanation(
        label="waving",
        score=0.75,
        score_name="score",
        layer="blocks.3.1",
        segment_s=(3.0, 4.5),
        pictures=np.full((number, height, width, 3), 100, np.uint8),
        heat=heat,
        times_s=times,
        curves=(Saliency(times, heat.sum((1, 2)).astype(np.float64)),),
    )


def test_colours_go_from_black_to_pale_yellow_in_growing_brightness() -> None:
    colours = magma(np.linspace(0, 1, 256))
    assert colours[0].tolist() == [0, 0, 4]
    assert colours[-1].tolist() == [0xFC, 0xFD, 0xBF]
    assert colours[136].tolist() == [0xC4, 0x3C, 0x75]  # the ninth of the sixteen colours
    brightness = colours @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()


def test_half_of_an_overlay_is_the_picture_and_half_the_heat() -> None:
    explanation = made(2)
    frames = overlay(explanation.pictures, explanation.heat)
    assert frames[0, 0, 0].tolist() == [round((100 + channel) / 2) for channel in (0xFC, 0xFD, 0xBF)]
    assert frames[0, 0, -1].tolist() == [50, 50, 52]


def test_a_gif_has_every_picture_and_plays_at_the_rate(tmp_path: Path) -> None:
    sheet = write(made(), tmp_path / "out" / "why.gif", 4.0)
    assert sheet == tmp_path / "out" / "why.png"
    with Image.open(tmp_path / "out" / "why.gif") as image:
        assert image.size == (64, 48)
        assert image.n_frames == 20
        assert image.info["duration"] == 250
        image.seek(10)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels[20, 5] - pixels[20, 60]).max() > 50
    with Image.open(sheet) as image:
        assert np.asarray(image).std() > 10


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_an_mp4_is_h264_with_even_sides(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "why.MP4"
    write(made(20, *size), path, 7.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == 7.5
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(frames) == 20
    assert frames[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(frames[10][20, 5] - frames[10][20, 60]).max() > 50


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    for name in ("why.avi", "why"):
        with pytest.raises(UserError, match=r"Expected one of \.gif, \.mp4"):
            write(made(), tmp_path / name, 5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "rows"), [(1, 1), (5, 2), (12, 3), (300, 3)])
def test_a_contact_sheet_has_twelve_pictures_at_most(number: int, rows: int) -> None:
    explanation = made(number)
    sheet = contact_sheet(explanation, overlay(explanation.pictures, explanation.heat))
    assert sheet.width == 4 * (224 + 8) + 8
    empty = contact_sheet(replace(explanation, pictures=explanation.pictures[:1]), np.zeros((1, 48, 64, 3), np.uint8))
    assert sheet.height - empty.height == (rows - 1) * (168 + 18 + 8)


def test_the_segment_and_the_peak_are_marked() -> None:
    explanation = made()
    frames = overlay(explanation.pictures, explanation.heat)
    assert explanation.peak_s == pytest.approx(5.8)
    marked = np.asarray(contact_sheet(explanation, frames)).astype(int)
    plain = np.asarray(contact_sheet(replace(explanation, segment_s=(0.0, 0.5)), frames)).astype(int)
    orange = np.array([0xFE, 0x9F, 0x6D])
    assert (np.abs(marked - orange).sum(2) == 0).sum() > 2 * (np.abs(plain - orange).sum(2) == 0).sum() + 1000


def test_curves_of_several_views_share_one_scale_and_blank_ones_are_said() -> None:
    explanation = made()
    times = explanation.curves[0].times_s
    low, high = Saliency(times, np.linspace(1, 0, 20)), Saliency(times, np.linspace(0, 3, 20))
    both = replace(explanation, curves=(low, high))
    assert both.peak_s == pytest.approx(times[-1])
    assert not both.is_blank
    blank = replace(explanation, heat=0 * explanation.heat, curves=(Saliency(times, np.zeros(20)),))
    assert blank.is_blank
    written = io.BytesIO()
    contact_sheet(blank, overlay(blank.pictures, blank.heat)).save(written, "png")
    assert written.tell() > 0

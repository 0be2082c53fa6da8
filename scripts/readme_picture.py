"""Draws the README's picture: frames of a video, its true actions, and those that `actloc predict` found.

After `scripts/demo`:
  run=ckpt/sample_efficientnet_actionformer
  actloc predict $run data/spliced_sample/videos/test_006*.mp4 --output $run/predictions
  .venv/bin/python -m scripts.readme_picture $run/predictions/predictions.json test_006
"""

import sys
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

from actloc import files
from actloc.annotations import form as annotation_form

WIDTH, MARGIN, NUM_FRAMES = 1600, 100, 10  # pixels, twice what the page shows
FRAME = (WIDTH - MARGIN) // NUM_FRAMES, (WIDTH - MARGIN) // NUM_FRAMES * 9 // 16  # the clips, without black bars
BAR, GAP = 88, 12
COLOURS = ("#0072b2", "#b0470b", "#00755a", "#8a3f76", "#6b5b00")  # dark enough for white words
INK, FAINT = "#222222", "#bbbbbb"
Bar = tuple[float, float, str, str]
"""Start and end in seconds, the label, and the score, if there is one."""


def frames_at(path: Path, times_s: list[float]) -> list[Image.Image]:
    """The frame shown at each of the times, which ascend."""
    pictures: list[Image.Image] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            while len(pictures) < len(times_s) and frame.time >= times_s[len(pictures)]:
                pictures.append(
                    ImageOps.fit(Image.fromarray(frame.to_ndarray(format="rgb24")), FRAME, Image.Resampling.LANCZOS)
                )
    return pictures


def lines_in(bar: Bar) -> list[str]:
    """The text of a bar: its label, with the last word on a line of its own, and its score."""
    return [*bar[2].replace("_", " ").rsplit(" ", 1), *([bar[3]] if bar[3] else [])]


def draw(path: Path, duration_s: float, lanes: dict[str, list[Bar]]) -> Image.Image:
    """The frames on top, a lane of bars for each entry below, seconds at the bottom."""
    height = FRAME[1] + len(lanes) * (BAR + GAP) + GAP + 40
    picture = Image.new("RGB", (WIDTH, height), "white")
    pen = ImageDraw.Draw(picture)
    scale = (WIDTH - MARGIN) / duration_s
    middles = [(number + 0.5) * duration_s / NUM_FRAMES for number in range(NUM_FRAMES)]
    for number, frame in enumerate(frames_at(path, middles)):
        picture.paste(frame, (MARGIN + number * FRAME[0], 0))
    every_bar = [bar for bars in lanes.values() for bar in bars]
    labels = sorted({label for _, _, label, _ in every_bar})
    font = next(  # the largest with which every line fits its bar
        font
        for font in map(ImageFont.load_default, range(24, 0, -1))
        if all(font.getlength(line) + 8 <= (bar[1] - bar[0]) * scale for bar in every_bar for line in lines_in(bar))
    )
    top = FRAME[1] + GAP
    for name, bars in lanes.items():
        pen.multiline_text(
            (MARGIN - 14, top + BAR / 2), name, INK, ImageFont.load_default(26), anchor="rm", align="right"
        )
        for bar in bars:
            start_s, end_s, label, _ = bar
            box = (MARGIN + start_s * scale, top, MARGIN + end_s * scale, top + BAR)
            pen.rounded_rectangle(box, 6, COLOURS[labels.index(label) % len(COLOURS)])
            middle = ((box[0] + box[2]) / 2, top + BAR / 2)
            pen.multiline_text(middle, "\n".join(lines_in(bar)), "white", font, anchor="mm", align="center", spacing=4)
        top += BAR + GAP
    pen.line((MARGIN, top, WIDTH, top), FAINT, 2)
    for second in range(0, int(duration_s) + 1, 5):
        place = MARGIN + second * scale
        pen.line((place, top, place, top + 8), FAINT, 2)
        anchor = "ma" if second * scale < WIDTH - MARGIN - 40 else "ra"
        pen.text((place, top + 12), f"{second} s", INK, ImageFont.load_default(22), anchor=anchor)
    return picture


def main() -> None:
    """Writes .github/found.png."""
    predictions_file, video_id = sys.argv[1:]
    video = annotation_form.read(Path("data/spliced_sample/annotations.json")).videos[video_id]
    assert video.file is not None
    assert video.duration_s is not None
    found = files.read_json(Path(predictions_file))["results"][video.file.stem]
    lanes: dict[str, list[Bar]] = {
        "true": [(action.start_s, action.end_s, action.label, "") for action in video.actions],
        "found,\nscore": [(*one["segment"], one["label"], f"{one['score']:.2f}") for one in found],
    }
    drawn = draw(video.file, video.duration_s, lanes)
    drawn.quantize(128).save(".github/found.png", optimize=True)


if __name__ == "__main__":
    main()

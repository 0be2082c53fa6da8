"""`predict --clips FOLDER`: each segment that was found as a video file of its own, and a table of them."""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from actloc import files
from actloc.annotations.rows import Segment
from actloc.errors import UserError
from actloc.prediction.inputs import absolute
from actloc.prediction.made_files import Made
from actloc.prediction.video_files import Found, VideoFiles
from actloc.reports import outputs
from actloc.reports.text import csv_cell, printable
from actloc.video import rendering

INDEX_NAME = "index.csv"
_VERSION = 1
_LONGEST_SLUG = 40  # bytes
_SHORTEST_S = 0.04  # what a clip counts for in the progress, at least


class Clips(VideoFiles):
    """The clips of the results in one output folder."""

    kind = "clips"

    def __init__(self, folder: Path, output: Path, *, overwrite: bool) -> None:
        super().__init__(folder, is_wanted=True, overwrite=overwrite)
        self._output = os.path.relpath(absolute(output), absolute(folder))

    def check(self, videos: Mapping[str, Path]) -> None:
        """ffmpeg can write clips, and the folder is free or has clips of the same results."""
        folder = self.made.folder
        if folder.exists() and not folder.is_dir():
            raise UserError(
                f"--clips {folder} is a file.", "Expected a folder to write into.", "Choose another folder."
            )
        rendering.check_ffmpeg(with_labels=False)
        other = next((made for made in self.made.all() if made.output != self._output), None)
        if other is not None and not self._overwrite:
            raise UserError(
                f"{folder} has clips of other results, those in {os.path.normpath(folder / other.output)}.",
                "Expected clips of the same --output, or an empty folder.",
                "Choose another folder: --clips FOLDER; or replace these clips: --overwrite",
            )
        index = "Replace it with --overwrite, or choose another folder: --clips FOLDER"
        outputs.refuse_others([folder / INDEX_NAME], overwrite=self._overwrite, fix=index)

    def made_with(self, found: Found) -> str:
        """The video and the segments."""
        shown = [list(asdict(one).values()) for one in found.video.segments]
        content = [_VERSION, self._output, asdict(found.state), shown]
        return files.sha256_of_bytes(json.dumps(content).encode())

    def seconds(self, found: Found) -> float:
        """All clips together."""
        return sum(_length_s(one) for one in found.video.segments)

    def make(self, found: Found, made_with: str, report_time: Callable[[float], None]) -> None:
        """Writes the clips that are not there yet."""
        video_id, folder = found.video.id, self.made.folder
        segments = sorted(found.video.segments, key=lambda one: (one.start_s, one.end_s, one.label))
        named = {_name(video_id, number, one): one for number, one in enumerate(segments, start=1)}
        before = self.made.find(video_id)
        if before is not None and before.made_with != made_with:
            self.made.remove(before)
            before = None
        own = [] if before is None else [before]
        self.made.refuse_others(list(named), overwrite=self._overwrite, option="--clips", of=own)
        there = [] if before is None else [name for name in named if name not in self.made.missing(before)]
        rows = [
            {"file": name, "start": one.start_s, "end": one.end_s, "label": one.label, "score": one.score}
            for name, one in named.items()
        ]
        for name in named.keys() - set(there):
            files.remove(folder / name)
        self.made.write(Made(video_id, made_with, dict.fromkeys(named), self._output, rows))
        done_s, shown = 0.0, rendering.look_at(found.path) if len(there) < len(named) else None
        for name, one in named.items():
            if shown is not None and name not in there:
                rendering.cut_out(found.path, folder / name, shown, one.start_s, one.end_s)
            done_s += _length_s(one)
            report_time(done_s)
        sizes = {name: (folder / name).stat().st_size for name in named}
        self.made.write(Made(video_id, made_with, sizes, self._output, rows))

    def finish(self) -> None:
        """Writes index.csv, with the clips that are there."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "video", "start", "end", "label", "score"])
        for made in self.made.all():
            missing = self.made.missing(made)
            for row in made.rows:
                if row["file"] not in missing:
                    numbers = f"{row['start']:.3f}", f"{row['end']:.3f}"
                    score = "" if row["score"] is None else f"{row['score']:.6g}"
                    writer.writerow([row["file"], csv_cell(made.id), *numbers, csv_cell(row["label"]), score])
        path = self.made.folder / INDEX_NAME
        with outputs.recording([path]):
            files.write_text(path, stream.getvalue())


def _length_s(one: Segment) -> float:
    return max(one.end_s - one.start_s, _SHORTEST_S)


def _name(video_id: str, number: int, one: Segment) -> str:
    """`walk_0001_open_door_12.3-15.6.mp4`: nothing in it leads out of the folder or starts an option."""
    times = f"{max(one.start_s, 0.0):.1f}-{max(one.end_s, 0.0):.1f}"
    name = files.safe_name(video_id)
    if name[0] in "=+-@":  # an option of a program, or a formula in the table
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return f"{name}_{number:04d}_{slug(one.label)}_{times}.mp4"


def slug(label: str) -> str:
    """A label as part of a file name: letters, digits and underscores of any script, cut at 40 bytes."""
    words = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", printable(label))).strip("_-")
    return words.encode()[:_LONGEST_SLUG].decode(errors="ignore") or "action"

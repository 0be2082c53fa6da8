"""Features of a long video that an encoder makes during detection: each clip is encoded once, its rows wait on disk."""

from dataclasses import replace

import torch

from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.extraction.rows import RowsInFile
from actloc.sources.base_source import Source
from actloc.store.on_disk import FeaturesOnDisk
from actloc.structures import Batch, Sample, Targets

_ROWS_AT_ONCE = 1024
"""Rows that are in memory together, or those of one call of the encoder if they are more."""


def is_made_in_parts(source: Source, sample: Sample) -> bool:
    """Whether each row is made of one clip alone: neither resized, nor interpolated, nor of an encoder that mixes."""
    window, live = _parts_of(source, sample)
    per_clip = live.encoder.vectors_per_clip(len(window.layout.frames_of(0)))
    is_alone = window.resize_to is None and per_clip == window.layout.vectors_per_clip
    return is_alone and not live.encoder.config.mixes_clips and not window.others_are_stored


def encoded_once(source: Source, sample: Sample, rows: RowsInFile) -> Sample:
    """The sample with its features in `rows`; parts are whole calls of the encoder, as those of the whole are."""
    window, live = _parts_of(source, sample)
    first = window.first_row % window.layout.vectors_per_clip  # rows of the first clip that are before the sample
    in_call = live.chunk * window.layout.vectors_per_clip
    length = max(_ROWS_AT_ONCE // in_call, 1) * in_call
    ends = [*range(length - first, sample.num_steps, length), sample.num_steps]
    for start, end in zip([0, *ends], ends, strict=False):
        part = sample.part(start, end - start, Targets.none())
        features = source.features(Batch((part,)), end - start, torch.device("cpu"))
        rows.append(features[0].T.float().numpy())
    return replace(sample, payload=FeaturesOnDisk(rows.read, rows.channels, rows.num_rows, every=1))


def _parts_of(source: Source, sample: Sample) -> tuple[ClipWindow, LiveEncoder]:
    window, live = sample.payload, source.live
    assert isinstance(window, ClipWindow)
    assert live is not None, "clips are of a source with an encoder"
    return window, live

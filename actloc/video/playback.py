"""What a player needs to know of a video file: its container, its codecs, and where its pictures begin."""

from fractions import Fraction
from pathlib import Path

import av

from actloc.video.base import Playback
from actloc.video.readers import pyav
from actloc.video.readers.base import opened, video_stream


def playback(path: Path) -> Playback:
    """Reads the header, without decoding; raises VideoError for what is no video."""
    with opened(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        begins_s = (stream.start_time or 0) * (stream.time_base or Fraction(0))
        # players begin to count where the first stream begins, which may be the sound
        earliest_s = Fraction(container.start_time or 0, av.time_base)
        return Playback(
            container=container.format.name,
            codec=context.name if context.codec is None else context.codec.canonical_name,
            profile=str(stream.profile or ""),
            pixels=str(context.pix_fmt or ""),
            sound=container.streams.audio[0].codec_context.name if container.streams.audio else "",
            offset_s=max(0.0, float(begins_s - earliest_s)),
            duration_s=pyav.facts(path).duration_s,
        )

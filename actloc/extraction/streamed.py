"""Features of a video that is read once and as it comes: rows go to a sink, and nothing else is kept."""

from collections.abc import Callable
from pathlib import Path

from actloc.encoders.base_network import ClipEncoder, check_clips
from actloc.errors import UserError
from actloc.extraction.batches import BatchedNetwork
from actloc.extraction.decoded import DecodedVideo
from actloc.extraction.rows import RowAssembly, RowSink
from actloc.settings.sections import MachineSettings
from actloc.store.info import Features
from actloc.video.live import LiveSource, read_live
from actloc.video.reader import Summary
from actloc.video.windows import ClipSpacing


class _Receiver:
    def __init__(self, assembly: RowAssembly) -> None:
        self._assembly = assembly

    def receive(self, vectors: Features) -> None:
        self._assembly.take(vectors)


def encode_stream(
    source: Path | LiveSource,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    sink: RowSink,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
) -> Summary:
    """Passes the rows of the source to the sink as they come; returns what it contained. Raises VideoError.

    `check_stop` is called several times a second while there is no frame yet; what it raises ends the reading. All
    threads share each batch, so that its rows come soon; with several, they may differ from those of extraction by
    rounding.
    """
    refuse(encoder, spacing)
    decoded = _decoded(source, encoder, spacing, machine, say, check_stop)
    try:
        place = source if isinstance(source, Path) else Path(source.name)
        assembly = RowAssembly(place.name, place, encoder, spacing, sink, lambda: decoded.picking)
        network, receiver = BatchedNetwork(encoder, spacing, machine), _Receiver(assembly)
        for item in decoded:
            network.add(receiver, [item])
        network.finish()
        assembly.end(decoded.num_frames)
        return decoded.summary
    finally:
        decoded.close()


def _decoded(
    source: Path | LiveSource,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    say: Callable[[str], None],
    check_stop: Callable[[], None],
) -> DecodedVideo:
    if isinstance(source, Path):
        return DecodedVideo(source, encoder, spacing, machine, check_stop)
    reader = read_live(
        source,
        fps=spacing.fps,
        decode_fps=spacing.decode_fps,
        steps=encoder.config.frame_steps(),
        reader=machine.reader,
        timeout_s=machine.decode_timeout_s,
        say=say,
        check_stop=check_stop,
    )
    return DecodedVideo.of_reader(reader, encoder, spacing)


def refuse(encoder: ClipEncoder, spacing: ClipSpacing) -> None:
    """Raises UserError for features that need more than the frames so far, or a rate that only a file states."""
    check_clips(encoder, spacing)
    if "native" in (spacing.fps, spacing.decode_fps):
        raise UserError(
            "features.fps is native: the rate of each video.",
            "Expected a number of frames per second, because the rate of a live source is not known.",
            "Use a run whose features.fps is a number.",
        )
    if type(encoder).video_term is not ClipEncoder.video_term:
        raise UserError(
            f"The encoder {encoder.config.name} adds a term of the whole video to each feature.",
            "Expected an encoder that looks at clips only.",
            "Use a run with another encoder.",
        )

"""The names of encoders' settings in messages, which encoders write as in localization: features.encoder."""

from collections.abc import Iterator
from contextlib import contextmanager

from actloc.errors import UserError


@contextmanager
def encoder_called(block: str = "clips.encoder") -> Iterator[None]:
    """Within it, a UserError about the settings of an encoder names them as those of `block`."""
    try:
        yield
    except UserError as error:
        error.found, error.expected, error.fix = (
            text.replace("features.encoder", block) for text in (error.found, error.expected, error.fix)
        )
        raise

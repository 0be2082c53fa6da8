import pytest

from tests.videos import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Videos by name; treat them as read-only."""
    return Clips(tmp_path_factory.mktemp("clips"))

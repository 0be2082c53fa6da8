"""The browser of the tests: the system's Chromium, driven by Playwright, which downloads nothing.

ACTLOC_BROWSER names it; with that a test that cannot use it fails, without it the test is skipped and says why.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """ACTLOC_BROWSER, or the first Chromium or Chrome on PATH; None if there is none."""
    return os.environ.get("ACTLOC_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)


needs_browser = pytest.mark.skipif(
    program() is None, reason="no Chromium on PATH; name the browser: ACTLOC_BROWSER=/usr/bin/chromium"
)


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser without a network.

    It has no sandbox, which root, and containers without user namespaces, cannot use; the pages are our own. It keeps
    shared memory in files, since /dev/shm of a container is small.
    """
    words = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=words)
        try:
            yield browser
        finally:
            browser.close()

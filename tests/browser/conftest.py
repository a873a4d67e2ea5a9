"""Fixtures of the browser tests: a browser on the running stack."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium
from tests.running_stack import Demo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if chromium.PROGRAM is None:
        reason = "no chromium found (Debian: apt-get install chromium), and CHROMIUM is not set"
        for item in items:
            if "tests/browser/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=reason))


# Not of the session: while Playwright is open, its event loop runs, and tests of other modules that follow in the same
# process could not start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


@pytest.fixture
def context(browser: Browser, whole_range: Demo) -> Iterator[BrowserContext]:
    """A browser without a login."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=whole_range.state.airflow_url)
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, whole_range: Demo) -> Page:
    """A page with the admin logged in; a script error fails the test."""
    chromium.log_in(context, whole_range.state)
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"{page.url}: {error}"))
    return page


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots: ECOMMERCE_SCREENSHOTS, or a temporary one."""
    folder = Path(os.environ.get("ECOMMERCE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

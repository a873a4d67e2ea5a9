"""A browser on the running stack."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium
from tests.running_stack import Demo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if chromium.PROGRAM is None:
        reason = "there is no chromium here (Debian: apt-get install chromium), nor does CHROMIUM name one"
        for item in items:
            if "tests/browser/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


@pytest.fixture
def context(browser: Browser, whole_range: Demo) -> Iterator[BrowserContext]:
    """Nobody is logged in."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=whole_range.state.airflow_url)
    made.set_default_timeout(15_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, whole_range: Demo) -> Page:
    """The admin is logged in; what a script complains of fails the test."""
    chromium.log_in(context, whole_range.state)
    made = context.new_page()
    made.on("pageerror", lambda error: pytest.fail(f"{made.url}: {error}"))
    return made


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: ECOMMERCE_SCREENSHOTS, or where pytest keeps what a test writes."""
    folder = Path(os.environ.get("ECOMMERCE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""The system's Chromium, with a user who is logged in to Airflow."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from include.demo.state import State

#: The system's Chromium, or `CHROMIUM` of the environment; Playwright's own download is never used.
PROGRAM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

#: No requests beside those of the pages: no updates, no sync, none to Google.
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=_ARGUMENTS)
        yield started
        started.close()


def log_in(context: BrowserContext, state: State) -> None:
    """Log in as the stack's admin, with the token that Airflow keeps in a cookie."""
    credentials = {"username": "admin", "password": state.passwords["admin"]}
    token = context.request.post(f"{state.airflow_url}/auth/token", data=credentials).json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": state.airflow_url}])


def draw_all(page: Page) -> None:
    """Scroll through the page, so that each chart is drawn, and back to its top."""
    for chart in page.locator(".plot").all():
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()
    page.evaluate("scrollTo(0, 0)")


#: Milliseconds from the beginning of the navigation: until the first text is painted, and until every chart in sight is
#: drawn; those further down are drawn when they come into view.
_FIRST_VISIT = """
    async () => {
        const painted = new Promise(done => new PerformanceObserver(list => {
            const found = list.getEntriesByName("first-contentful-paint");
            if (found.length) done(found[0].startTime);
        }).observe({type: "paint", buffered: true}));
        const inSight = [...document.querySelectorAll(".plot")]
            .filter(box => box.getBoundingClientRect().top < innerHeight);
        while (!inSight.every(box => box.querySelector(".main-svg") && !box.classList.contains("loading"))) {
            await new Promise(requestAnimationFrame);
        }
        return [await painted, performance.now()];
    }"""


def first_visit(page: Page, address: str) -> tuple[float, float]:
    """Open an address; milliseconds until the first text is painted, and until every chart in sight is drawn."""
    page.goto(address, wait_until="domcontentloaded")
    text, charts = page.evaluate(_FIRST_VISIT)
    return text, max(text, charts)

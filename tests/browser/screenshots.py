"""Take the screenshots of the README from the running demo: `make screenshots`."""

from include.demo import stack
from include.demo.state import ROOT
from tests.browser.chromium import browser, draw_all, log_in

PICTURES = {"today": "/shop/today", "revenue": "/shop/revenue"}


def main() -> None:
    """Write a screenshot of each page to docs/screenshots, 1280 pixels wide."""
    state = stack.running()
    folder = ROOT / "docs" / "screenshots"
    folder.mkdir(exist_ok=True)
    with browser() as chromium:
        context = chromium.new_context(viewport={"width": 1280, "height": 960}, base_url=state.airflow_url)
        log_in(context, state)
        page = context.new_page()
        for name, address in PICTURES.items():
            page.goto(address)
            draw_all(page)
            page.wait_for_timeout(500)
            page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main()

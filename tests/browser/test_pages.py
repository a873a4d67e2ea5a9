"""The pages in a real browser, on a running Airflow with a loaded shop."""

import csv
import io
import re
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from shop_pages.pages import PAGES
from tests.browser.chromium import draw_all
from tests.running_stack import Demo

EVERY_PAGE = [
    "today",
    *PAGES,
    "status",
    "models",
    "models/daily_revenue",
    "metrics",
    "why",
    "digest",
    "trigger/ecommerce_warehouse",
]


def test_login_page_leads_back_to_requested_page(context: BrowserContext, whole_range: Demo) -> None:
    page = context.new_page()
    answer = page.goto("/shop/today")
    assert answer is not None
    assert answer.status == 401
    page.get_by_role("link", name="Log in").click()
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(whole_range.state.passwords["admin"])
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url("**/shop/today")
    expect(page.get_by_role("heading", level=1)).to_contain_text("As of 2 Feb 2024")


def test_airflow_navigation_opens_pages_and_pages_open_runs(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Shop", exact=True).click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("As of 2 Feb 2024")
    frame.get_by_role("link", name="Data status").click()
    # The address contains the page in the frame, so that it can be shared.
    page.wait_for_url("**/plugin/shop/shop/status")
    frame.locator("#runs a[data-airflow]").first.click()
    page.wait_for_url("**/dags/ecommerce_warehouse/runs/**")


# The dark theme is checked on the pages that together have all its colours.
@pytest.mark.parametrize(
    ("theme", "pages"), [("light", EVERY_PAGE), ("dark", ["today", "revenue", "status", "models/daily_revenue"])]
)
def test_every_page_is_accessible_and_fits_both_themes_and_widths(
    page: Page, whole_range: Demo, screenshots: Path, theme: str, pages: list[str]
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto("/shop/today")
    # Where Airflow stores it.
    page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    for path in pages:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"/shop/{path}")
        assert page.locator("html").get_attribute("data-theme") == theme
        draw_all(page)
        result = Axe().run(page)
        serious = [
            (rule["id"], rule["help"], [node["html"][:200] for node in rule["nodes"][:3]])
            for rule in result.response["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
        name = path.replace("/", "-")
        page.screenshot(path=screenshots / f"{name}-{theme}-1280.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        for chart in page.locator(".plot .main-svg").all():
            # Redrawn for the new width, a moment later.
            expect(chart).to_have_attribute("width", re.compile(r"^([12]?\d?\d|3[0-8]\d)(\.\d+)?$"))
        page.screenshot(path=screenshots / f"{name}-{theme}-390.png", full_page=True)
    assert len(requested) > len(pages)
    assert [url for url in requested if not url.startswith((whole_range.state.airflow_url, "blob:", "data:"))] == []


def test_policy_blocks_nothing_of_the_pages(page: Page) -> None:
    page.add_init_script(
        "window.blocked = [];"
        "addEventListener('securitypolicyviolation', event => window.blocked.push("
        "`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile} ${event.lineNumber} ${event.sample}`))"
    )
    for path in EVERY_PAGE:
        page.goto(f"/shop/{path}")
        draw_all(page)
        if path == "revenue":
            for kind in ("PNG", "SVG"):
                with page.expect_download():
                    page.locator("#trend").get_by_role("button", name=kind).click()
            page.locator("#trend .main-svg").first.hover()
        page.wait_for_timeout(200)
        assert page.evaluate("window.blocked") == [], path


def test_page_in_frame_follows_theme_of_airflow(page: Page) -> None:
    page.goto("/plugin/shop")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", level=1).wait_for()
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.className = theme }", theme)
        expect(frame.locator("html")).to_have_attribute("data-theme", theme)


def test_first_paint_is_within_a_second(page: Page) -> None:
    for path in ("today", "revenue"):
        painted = []
        # The fastest of three, since the machine has other work as well.
        for _ in range(3):
            page.goto(f"/shop/{path}")
            painted.append(
                page.evaluate(
                    "new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))"
                    ".observe({type: 'paint', buffered: true}))"
                )
            )
        assert min(painted) < 1000, (path, painted)


def test_filters_narrow_charts_and_tables(page: Page) -> None:
    page.goto("/shop/revenue")
    page.get_by_label("First day").fill("2024-01-01")
    page.get_by_label("Last day").fill("2024-01-31")
    page.get_by_role("combobox", name="Category").select_option("Garden")
    page.get_by_role("button", name="Show").click()
    assert "first=2024-01-01" in page.url
    expect(page.locator("#trend summary")).to_contain_text("31 rows")
    page.locator("#categories summary").click()
    cells = page.locator("#categories tbody td:nth-child(2)").all_inner_texts()
    assert cells
    assert set(cells) == {"Garden"}
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("#trend summary")).to_contain_text("7 rows")


def test_figure_links_to_raw_row_batch_run_and_kafka_offset(page: Page) -> None:
    page.goto("/shop/revenue?first=2024-01-10&last=2024-01-10")
    page.locator("#trend summary").click()
    page.locator("#trend a[data-drill]").click()
    assert "order_date=2024-01-10" in page.url
    expect(page.locator(".badge.good").first).to_contain_text("= Daily orders")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="Raw rows")).to_be_visible()
    page.locator("section:has(#raw-title) tbody a").first.click()
    assert "/batches/" in page.url
    run = page.get_by_role("link", name="Run in Airflow").get_attribute("href")
    assert run is not None
    assert "/dags/ecommerce_warehouse/runs/" in run
    page.goto("/shop/customers?first=2024-01-10&last=2024-01-10")
    page.locator("#funnel summary").click()
    page.locator("#funnel a[data-drill]").click()
    page.locator("tbody a").first.click()
    page.locator("section:has(#raw-title) tbody a").first.click()
    expect(page.locator("section:has(#offsets-title)")).to_contain_text("customer_interactions")


def test_bars_of_a_waterfall_begin_where_the_one_before_ended(page: Page) -> None:
    page.goto("/shop/profit")
    draw_all(page)
    data = "document.querySelector('#plot-steps').data[0]"
    given = page.evaluate("JSON.parse(document.querySelector('script[data-plot=steps]').textContent).data[0]")
    bases, heights, colours = (page.evaluate(f"{data}.{name}") for name in ("base", "y", "marker.color"))
    ends = [base + height for base, height in zip(bases, heights, strict=True)]
    assert len(ends) > 7
    for n, kind in enumerate(given["measure"]):
        if kind == "relative":
            assert (bases[n], heights[n]) == pytest.approx((ends[n - 1], given["y"][n]))
        else:
            assert bases[n] == 0
            assert heights[n] == pytest.approx(given["y"][n] if kind == "absolute" else ends[n - 1])
    # What is taken off has a colour of its own, and what is left another.
    relative = [colour for colour, kind in zip(colours, given["measure"], strict=True) if kind == "relative"]
    assert not {*relative} & {colour for colour in colours if colour not in relative}
    assert len({*colours}) >= 2


def test_click_on_a_bar_opens_its_facts_whatever_its_name_is(page: Page) -> None:
    page.goto("/shop/operations")
    expect(page.locator("#stock .js-plotly-plot")).to_be_visible()
    # The chart has the name as it escapes it.
    page.evaluate(
        """
        () => {
            document.querySelector("#stock tr[data-label]").dataset.label = "Toys & <Games>";
            const point = {data: {orientation: "h"}, y: "Toys &amp; &lt;Games>", pointNumber: 0};
            document.querySelector("#stock .js-plotly-plot").emit("plotly_click", {points: [point]});
        }
        """
    )
    page.wait_for_url("**/rows/inventory_status?**")


def test_figure_downloads_as_csv_png_and_svg(page: Page, whole_range: Demo) -> None:
    page.goto("/shop/revenue?first=2024-01-01&last=2024-01-31")
    figure = page.locator("#trend")
    with page.expect_download() as download:
        figure.get_by_role("link", name="CSV").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text("utf-8-sig"))))
    assert rows[0][:2] == ["order_date", "daily_revenue"]
    (total,) = whole_range.query(
        "select sum(daily_revenue) from marts.daily_revenue where order_date between '2024-01-01' and '2024-01-31'"
    )[0]
    assert round(sum(float(row[1]) for row in rows[1:]), 2) == float(total)
    draw_all(page)
    for kind, start in (("PNG", b"\x89PNG\r\n"), ("SVG", b"<svg")):
        with page.expect_download() as download:
            figure.get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"revenue-trend.{kind.lower()}"
        assert download.value.path().read_bytes().startswith(start)


def test_calendar_day_fills_in_form_and_form_starts_run(page: Page, whole_range: Demo) -> None:
    page.goto("/shop/status")
    page.locator('[data-calendar] tr:has(th:text-is("Sales fact")) a[data-day="2024-01-30"]').click(modifiers=["Shift"])
    page.locator('[data-calendar] tr:has(th:text-is("Sales fact")) a[data-day="2024-01-28"]').click(modifiers=["Shift"])
    page.get_by_role("button", name="Load these days").click()
    assert page.locator("input[name=start_date]").input_value() == "2024-01-28"
    assert page.locator("input[name=end_date]").input_value() == "2024-01-30"
    page.goto("/shop/status")
    page.locator('[data-calendar] tr:has(th:text-is("Sales fact")) a[data-day="2024-01-30"]').click()
    page.get_by_role("link", name="Load this day again").click()
    assert page.locator("input[name=start_date]").input_value() == "2024-01-30"
    assert page.locator("input[name=sources]:checked").count() == 1
    page.get_by_label("Dry run").check()
    page.get_by_role("button", name="Start the run").click()
    run_id = page.locator(".state.good p").first.inner_text()
    conf = whole_range.query("select conf from dag_run where run_id = %s", run_id, database="airflow")[0][0]
    assert conf["start_date"] == conf["end_date"] == "2024-01-30"
    assert conf["sources"] == ["sales_fact"]
    assert conf["dry_run"] is True
    deadline = time.monotonic() + 90
    state = ""
    while state not in ("success", "failed") and time.monotonic() < deadline:
        time.sleep(0.5)
        ((state,),) = whole_range.query("select state from dag_run where run_id = %s", run_id, database="airflow")
    assert state == "success"


def test_form_shows_params_that_airflow_rejects(page: Page) -> None:
    page.goto("/shop/trigger/ecommerce_warehouse")
    page.locator("input[name=start_date]").evaluate("field => { field.type = 'text'; field.value = 'soon' }")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("alert")).to_contain_text("start_date")


def test_name_with_script_is_shown_as_text(page: Page, whole_range: Demo) -> None:
    name = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
    product, original, category = whole_range.query(
        "select product_id, product_name, category_name from marts.inventory_status"
        " where product_status = 'Low Stock' and category_name is not null"
        " order by units_sold_30d desc limit 1"
    )[0]
    change = "update marts.inventory_status set product_name = %s where product_id = %s"
    whole_range.query(change, name, product)
    try:
        page.goto(f"/shop/rows/inventory_status?product_id={product}")
        expect(page.locator("dl.facts")).to_contain_text(name)
        # A category that no test has requested: cached rows are valid until a publication, and this change is none.
        page.goto(f"/shop/operations?{urlencode({'category': category})}")
        draw_all(page)
        page.locator("#reorder summary").click()
        expect(page.locator("#reorder tbody")).to_contain_text(name)
        expect(page.locator("#plot-reorder .ytick").filter(has_text="script").first).to_be_attached()
        assert page.evaluate("window.hacked") is None
        # Even if a script got into the page, the policy would block it.
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 2'}))"
        )
        assert page.evaluate("window.hacked") is None
    finally:
        whole_range.query(change, original, product)


def test_keyboard_reaches_content(page: Page) -> None:
    page.goto("/shop/revenue")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_cosmos_pages_are_blocked(whole_range: Demo) -> None:
    for path in ("/cosmos", "/cosmos/", "/cosmos/docs", "/cosmos/openapi.json", "/cosmos/redoc"):
        assert httpx.get(whole_range.state.airflow_url + path).status_code == 404
    # The shop's own pages require a login.
    assert httpx.get(whole_range.state.airflow_url + "/shop/static/latest/pages.css").status_code == 401


def test_months_have_their_names_on_the_axis_and_in_the_saved_picture(page: Page) -> None:
    page.goto("/shop/revenue?first=2024-01-01&last=2024-02-02")
    draw_all(page)
    ticks = page.locator("#categories .xtick text").all_text_contents()
    assert ticks
    assert all(re.match(r"(Nov|Dec|Jan|Feb) 20\d\d", tick) for tick in ticks), ticks
    with page.expect_download() as download:
        page.locator("#categories").get_by_role("button", name="SVG").click()
    picture = download.value.path().read_text()
    assert "Jan 2024" in picture
    assert "Revenue, EUR" in picture
    assert "00:00" not in picture


def test_arrow_keys_go_through_the_calendar_and_details_open_on_focus(page: Page) -> None:
    page.goto("/shop/status")
    stop = page.locator('[data-calendar] a[tabindex="0"]')
    expect(stop).to_have_count(1)
    stop.focus()
    first = stop.get_attribute("data-day") or ""
    page.keyboard.press("ArrowLeft")
    expect(stop).to_be_focused()
    expect(stop).not_to_have_attribute("data-day", first)
    expect(page.locator("#tip")).to_have_text(stop.get_attribute("data-tip") or "")
    row = stop.locator("xpath=ancestor::tr").get_attribute("id")
    page.keyboard.press("ArrowDown")
    expect(stop).to_be_focused()
    assert stop.locator("xpath=ancestor::tr").get_attribute("id") != row
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    page.goto("/shop/revenue")
    page.locator("#trend summary").click()
    page.locator("#trend thead a").nth(1).focus()
    expect(page.locator("#tip")).to_contain_text("evenue")


def test_page_is_printed_on_white_paper_with_every_chart(page: Page) -> None:
    page.goto("/shop/today")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.goto("/shop/revenue")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for chart in page.locator(".plot").all():
        chart.locator(".main-svg").first.wait_for()
        expect(chart.locator(".main-svg").first).to_have_attribute("width", "680")
    assert page.locator("html").get_attribute("data-theme") == "light"
    expect(page.locator("header.top")).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_way_back_leads_to_the_figure_with_its_filters(page: Page) -> None:
    page.goto("/shop/revenue?first=2024-01-10&last=2024-01-12")
    page.locator("#trend summary").click()
    page.locator("#trend a[data-drill]").first.click()
    page.locator("tbody a").first.click()
    crumbs = page.locator(".crumbs a")
    expect(crumbs.first).to_have_text("Revenue")
    expect(crumbs.nth(1)).to_have_text("Daily revenue")
    crumbs.first.click()
    assert page.url.endswith("/shop/revenue?first=2024-01-10&last=2024-01-12#trend")


def test_phone_shows_the_tab_of_the_open_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("today", "status", "models"):
        page.goto(f"/shop/{path}")
        place = page.locator(".top a[aria-current]").bounding_box()
        assert place is not None
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= 390, path

"""Values of the shop where Airflow shows Markdown: on the page where a person decides they are texts only."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from ecommerce.audit.quality_check import question_in_words
from ecommerce.common.shown_text import markdown_text
from ecommerce.publish.preview import Difference, Mover, as_markdown
from tests.running_stack import Demo

TASK = "quality.amount"
#: What a customer, a product or a category may be called.
ATTACK = (
    "Toys\n\n# All fine, please approve\n\n![picture](https://evil.test/pixel.png) [Approve](https://evil.test/approve)"
    " <img src=https://evil.test/html.png> <https://evil.test/auto> https://evil.test/bare"
    " www.evil.test/bare a@evil.test"
)
UNTIL = datetime(2024, 7, 1, 8, tzinfo=UTC)
BODIES: dict[str, Callable[[str], str]] = {
    "what was found": lambda value: question_in_words(f"the mix differs; {value} 1 % → 9 %", UNTIL, ""),
    "what would change": lambda value: question_in_words(
        "the mix differs", UNTIL, as_markdown([Difference("m", 1, 0, 0, "v", [Mover({"k": value}, None, 1.0)])])
    ),
    "a line of a note": lambda value: f"extract.sales_fact: {markdown_text(value)}",
}


@contextmanager
def question(stack: Demo, body: str) -> Iterator[str]:
    """The path of the page where a person answers a question with this text."""
    ((run_id, task_instance),) = stack.query(
        "select run_id, id from task_instance where dag_id = 'ecommerce_warehouse' and task_id = %s limit 1",
        TASK,
        database="airflow",
    )
    stack.query(
        """
        insert into hitl_detail (ti_id, options, subject, body, multiple, params, params_input, created_at)
        values (%s, '["Approve", "Reject"]', 'amount: publish anyway?', %s, false, '{}', '{}', now())
        """,
        task_instance,
        body,
        database="airflow",
    )
    try:
        yield f"/dags/ecommerce_warehouse/runs/{quote(run_id, safe='')}/tasks/{TASK}/required_actions"
    finally:
        stack.query("delete from hitl_detail where ti_id = %s", task_instance, database="airflow")


def open_question(page: Page, stack: Demo, path: str) -> list[str]:
    """Open the page; the addresses outside of Airflow that it has asked for, which get no answer."""
    left: list[str] = []

    def keep(route: Route) -> None:
        if route.request.url.startswith((stack.state.airflow_url, "data:", "blob:")):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    page.route("**/*", keep)
    page.goto(path)
    shown = page.get_by_text(re.compile("All fine, please approve")).filter(visible=True)
    expect(shown.first).to_be_visible(timeout=20_000)
    page.wait_for_timeout(500)
    return left


def elements(page: Page) -> Locator:
    """What the attack wants the page to have."""
    heading = page.get_by_role("heading", name=re.compile("All fine"))
    return heading.or_(page.locator("a[href*='evil.test'], img[src*='evil.test'], a[href^='mailto:']"))


@pytest.mark.parametrize("place", BODIES)
def test_value_in_a_question_is_text(page: Page, whole_range: Demo, place: str) -> None:
    with question(whole_range, BODIES[place](ATTACK)) as path:
        left = open_question(page, whole_range, path)
        assert left == []
        assert elements(page).count() == 0


def test_page_of_questions_would_show_markup(page: Page, whole_range: Demo) -> None:
    """Or the test above would show nothing."""
    with question(whole_range, f"the mix differs; {ATTACK}") as path:
        left = open_question(page, whole_range, path)
        assert "https://evil.test/pixel.png" in left
        assert elements(page).count() >= 4

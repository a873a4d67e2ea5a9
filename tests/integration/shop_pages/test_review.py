"""
What people say, over the small warehouse of `conftest`: the page Review with its orders, and the page of an incident.
"""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import errors

from shop_pages import access, remarks
from shop_pages.airflow_access import DagAccessEntity, is_allowed
from tests.integration.shop_pages.conftest import AS_OF, GUEST_ORDER, LONG_ORDER, client_of

DAYS = {"first": "2023-03-01", "last": AS_OF}
OF_ALL_DAYS = f"first={DAYS['first']}&last={DAYS['last']}"


@pytest.fixture(scope="module")
def editor(client: TestClient, tokens: dict[str, str]) -> Iterator[TestClient]:
    """A user who may edit the DAG."""
    with client_of(tokens["user"]) as editor:
        yield editor


@pytest.fixture(autouse=True)
def reviews(filled: Callable[[str], str], patient: None) -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """The reviews that a test has written; they are gone afterwards."""
    with psycopg.connect(filled("publisher"), autocommit=True) as publisher:
        query = "select order_id, status, note, rules, reviewed_by from ops.review order by review_id"
        yield lambda: publisher.execute(query).fetchall()
        publisher.execute("truncate ops.review")


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def queue_of(html: str) -> list[str]:
    """The orders of the queue, by their links."""
    part = html[html.index('id="queue"') : html.index('id="outcomes"')]
    return [unescape(label) for label in re.findall(r'<td><a href="[^"]*/review/order\?[^"]*">([^<]*)</a>', part)]


def say(client: TestClient, order_id: str, answer: str, note: str = "", **choices: str) -> Any:
    return client.post("/review/order", data={"order_id": order_id, "status_now": answer, "note": note, **choices})


def test_queue_has_the_orders_of_the_mart_with_their_reasons(client: TestClient, filled: Callable) -> None:
    with psycopg.connect(filled("reader")) as reader:
        expected = [
            order_id
            for (order_id,) in reader.execute(
                "select order_id from marts.order_for_reviews"
                " order by risk_score desc, expected_loss desc, order_date desc, order_id"
            )
        ]
    page = client.get(f"/review?{OF_ALL_DAYS}")
    assert page.status_code == 200
    assert queue_of(page.text) == expected
    assert len(expected) > 4
    assert "Shipping costs more than 10 % of the order" in text_of(page.text)
    assert f"Open: {len(expected)}" in text_of(page.text)


def test_queue_is_filtered_by_status_priority_and_rule(editor: TestClient) -> None:
    every = queue_of(editor.get(f"/review?{OF_ALL_DAYS}").text)
    high = queue_of(editor.get(f"/review?{OF_ALL_DAYS}&priority=High").text)
    medium = queue_of(editor.get(f"/review?{OF_ALL_DAYS}&priority=Medium").text)
    assert sorted(high + medium) == sorted(every)
    assert high
    assert medium
    discounted = queue_of(editor.get(f"/review?{OF_ALL_DAYS}&rule=high_discount").text)
    assert {LONG_ORDER, GUEST_ORDER} <= set(discounted) < set(every)
    assert queue_of(editor.get(f"/review?{OF_ALL_DAYS}&status=problem").text) == []
    say(editor, LONG_ORDER, "problem")
    assert queue_of(editor.get(f"/review?{OF_ALL_DAYS}&status=problem").text) == [LONG_ORDER]
    assert LONG_ORDER not in queue_of(editor.get(f"/review?{OF_ALL_DAYS}").text)
    assert queue_of(editor.get(f"/review?{OF_ALL_DAYS}&status=all").text) == every


def test_review_is_shown_at_once_and_kept_with_its_rules(editor: TestClient, client: TestClient, reviews) -> None:
    # The page was read just before, and is in the caches of both.
    path = f"/review/order?order_id={LONG_ORDER}&{OF_ALL_DAYS}"
    assert "Nobody has said anything of this order yet." in client.get(path).text
    answer = say(editor, LONG_ORDER, "watch", "  Looks <b>odd</b>, ask Ann  ", **DAYS)
    assert answer.status_code == 303, answer.text
    [(order_id, status, note, rules, name)] = reviews()
    assert (order_id, status, note, name) == (LONG_ORDER, "watch", "Looks <b>odd</b>, ask Ann", "user")
    assert set(rules) >= {"high_discount", "high_shipping"}
    shown = client.get(path).text
    assert "Looks &lt;b&gt;odd&lt;/b&gt;, ask Ann" in shown
    assert "Nobody has said anything" not in shown
    # Another opinion is a row of its own.
    say(editor, LONG_ORDER, "fine")
    assert [row[1] for row in reviews()] == ["watch", "fine"]
    text = text_of(client.get(path).text)
    assert text.index("Fine", text.index("What was said")) < text.index("Watch", text.index("What was said"))


def test_review_leads_to_the_next_order_of_the_queue(editor: TestClient) -> None:
    queue = queue_of(editor.get(f"/review?{OF_ALL_DAYS}&rule=high_discount").text)
    assert len(queue) > 2
    choices = {**DAYS, "rule": "high_discount", "status": "open"}
    for order_id, following in itertools.pairwise(queue):
        answer = say(editor, order_id, "fine", **choices)
        page = editor.get(answer.headers["location"])
        assert f"<h1>Order {following}</h1>" in unescape(page.text)
        assert f"Order {order_id} is reviewed. This is the next one." in text_of(page.text)
    last = editor.get(say(editor, queue[-1], "fine", **choices).headers["location"])
    assert "no other order of this choice is left" in text_of(last.text)


def test_order_has_lines_customer_and_the_way_to_raw(client: TestClient) -> None:
    page = client.get("/review/order", params={"order_id": LONG_ORDER})
    assert page.status_code == 200
    assert f"/facts/fact_sales?key={LONG_ORDER}" in page.text
    assert "/rows/customer_segments?customer_id=CUST001" in page.text
    lines = page.text[page.text.index('id="lines-title"') : page.text.index('id="refunds-title"')]
    assert lines.count("<tr>") == 5, "a heading and four lines"
    guest = client.get("/review/order", params={"order_id": GUEST_ORDER})
    assert guest.status_code == 200
    assert "customer_segments" not in guest.text
    assert "Guest" in guest.text


def test_outcomes_say_which_rule_finds_problems(editor: TestClient) -> None:
    say(editor, LONG_ORDER, "problem")
    say(editor, GUEST_ORDER, "fine")
    page = editor.get(f"/review?{OF_ALL_DAYS}").text
    outcomes = page[page.index('id="outcomes"') :]
    [row] = re.findall(r"<tr>(?:(?!</tr>).)*A line has a discount above 30 %.*?</tr>", outcomes, re.DOTALL)
    cells = [" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    assert cells[5:] == ["2", "1", "0", "1", "50.00 %"]


def test_compliance_is_drawn_and_can_be_downloaded(client: TestClient) -> None:
    assert "Compliance" in client.get(f"/review?{OF_ALL_DAYS}").text
    lines = client.get(f"/review/compliance.csv?{OF_ALL_DAYS}").text.splitlines()
    assert lines[0].lstrip("\ufeff").startswith("order_date,rule,orders_checked,violations")
    assert len(lines) == 1 + 10 * 4


# Who may write, and what


def test_viewer_sees_orders_and_may_not_review(client: TestClient, reviews) -> None:
    page = client.get("/review/order", params={"order_id": LONG_ORDER})
    assert "that needs the right to edit the DAG" in text_of(page.text)
    assert page.text.count(" disabled") == 4
    assert say(client, LONG_ORDER, "fine").status_code == 403
    assert reviews() == []


def test_user_who_may_start_runs_and_not_edit_may_not_review(
    editor: TestClient, reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_allowed_but_to_edit(user: Any, method: Any, dag_id: str, entity: DagAccessEntity | None = None) -> bool:
        return method != "PUT" and is_allowed(user, method, dag_id, entity)

    monkeypatch.setattr(access, "is_allowed", is_allowed_but_to_edit)
    assert say(editor, LONG_ORDER, "fine").status_code == 403
    assert reviews() == []


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {}],
)
def test_request_from_another_site_cannot_review(
    editor: TestClient, tokens: dict[str, str], reviews, headers: dict[str, str]
) -> None:
    with client_of(None) as browser:
        browser.cookies.set("_token", tokens["user"])
        answer = browser.post("/review/order", data={"order_id": LONG_ORDER, "status_now": "fine"}, headers=headers)
        assert answer.status_code == 403
        assert reviews() == []
        same = {"Sec-Fetch-Site": "same-origin"}
        answer = browser.post("/review/order", data={"order_id": LONG_ORDER, "status_now": "fine"}, headers=same)
        assert answer.status_code == 303
        assert len(reviews()) == 1


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"status_now": "open"}, 400),
        ({"status_now": ""}, 400),
        ({"status_now": "fine", "note": "x" * 2_001}, 400),
        ({"status_now": "fine", "note": "a\x00b"}, 400),
        ({"status_now": "fine", "order_id": "no such order"}, 404),
        ({"status_now": "fine", "order_id": ""}, 404),
        ({"status_now": "fine", "status": "none"}, 400),
    ],
)
def test_wrong_review_is_refused(editor: TestClient, reviews, form: dict[str, str], status: int) -> None:
    answer = editor.post("/review/order", data={"order_id": LONG_ORDER, **DAYS, **form})
    assert answer.status_code == status
    if "status" not in form:
        assert reviews() == []


def test_note_that_is_too_long_is_not_lost(editor: TestClient) -> None:
    page = say(editor, LONG_ORDER, "fine", "y" * 2_001)
    assert "A note may have 2,000 characters; this one has 2,001." in text_of(page.text)
    assert "y" * 2_001 in page.text


@pytest.mark.parametrize("address", ["/review?status=none", "/review?priority=Low", "/review/order?order_id=none"])
def test_address_that_names_nothing_is_refused(client: TestClient, address: str) -> None:
    assert client.get(address).status_code in (400, 404)


def test_without_the_connection_the_page_says_so_and_writes_nothing(
    editor: TestClient, reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_WAREHOUSE_REVIEWER")
    answer = say(editor, LONG_ORDER, "fine")
    assert answer.status_code == 503
    assert "warehouse_reviewer" in answer.text
    assert reviews() == []


def test_reviewer_adds_reviews_and_nothing_else(filled: Callable[[str], str], editor: TestClient, reviews) -> None:
    say(editor, LONG_ORDER, "fine")
    good = "insert into ops.review (order_id, status, note, rules, reviewed_by) values ('a', 'fine', '', '{}', 'b')"
    refused = (
        "select * from ops.review",
        "update ops.review set status = 'problem'",
        "delete from ops.review",
        good.replace("(order_id", "(reviewed_at, order_id").replace("('a'", "('2020-01-01', 'a'"),
        good.replace("ops.review (order_id", "ops.review (review_id, order_id").replace("('a'", "(1, 'a'"),
        f"{good} returning review_id",
        "insert into ops.decision (run_id) values ('x')",
        "select * from marts.order_for_reviews",
        "select * from core.fact_sales",
        "select * from raw.customer",
    )
    with psycopg.connect(filled("reviewer"), autocommit=True) as reviewer:
        for statement in refused:
            with pytest.raises(errors.Error, match=r"permission denied|cannot insert"):
                reviewer.execute(statement.encode())
        for bad in (good.replace("'fine'", "'open'"), good.replace("''", f"'{'x' * 2_001}'")):
            with pytest.raises(errors.CheckViolation):
                reviewer.execute(bad.encode())
        reviewer.execute(good.encode())
    assert [row[0] for row in reviews()] == [LONG_ORDER, "a"]


def test_writer_reports_a_server_that_is_away(filled: Callable[[str], str], set_connection) -> None:
    set_connection("warehouse_nowhere", "postgres://reviewer:x@127.0.0.1:9/warehouse")
    review = remarks.Review("O1", "fine", "", ["high_discount"], "user")
    with pytest.raises(remarks.WarehouseUnavailable, match="warehouse_nowhere"):
        asyncio.run(remarks.add_review(review, "warehouse_nowhere"))


# -- incidents ---------------------------------------------------------------------------------------------------------

VOLUME = "ecommerce_warehouse volume raw.sales_fact"


@pytest.fixture
def incident(filled: Callable[[str], str]) -> Iterator[int]:
    """The number of an open incident of a check, found by two runs, with a load, a rollback and a decision since."""
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        ((number,),) = owner.execute(
            "insert into ops.alert (incident, dag_id, check_name, subject, severity, observed, expected, window_start,"
            " window_end, message, first_run_id, last_run_id, opened_at, last_seen_at, times_seen) values"
            " (%s, 'ecommerce_warehouse', 'volume', 'raw.sales_fact', 'fail', 10, 90, %s, %s::date + 1,"
            " '10 rows of <b>about</b> 90', 'r+1', 'r2', now() - interval '2 hours', now(), 2) returning alert_id",
            [VOLUME, AS_OF, AS_OF],
        ).fetchall()
        for run_id, status, hours in (("r0", "pass", 9), ("r-", "fail", 10), ("r+1", "fail", 2), ("r2", "fail", 1)):
            owner.execute(
                "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message) values"
                " (now() - %s * interval '1 hour', %s, 'volume', 'raw.sales_fact', %s, 'of an incident')",
                [hours, run_id, status],
            )
        for run_id, source, status, minutes in (
            ("r2", "sales_fact", "loaded", 60), ("r3", "sales_fact", "failed", 30), ("r4", "customer", "loaded", 30),
        ):  # fmt: skip
            owner.execute(
                "insert into ops.load_batch (source, window_start, window_end, status, started_at, finished_at, dag_id,"
                " run_id, error) values (%s, '2024-03-01', '2024-03-02', %s, now() - %s * interval '1 minute', now(),"
                " 'ecommerce_warehouse', %s, 'of an incident')",
                [source, status, minutes, run_id],
            )
        try:
            yield number
        finally:
            owner.execute("delete from ops.alert")
            owner.execute("delete from ops.incident_note")
            owner.execute("delete from ops.load_batch where error = 'of an incident'")
            owner.execute("delete from ops.check_result where message = 'of an incident'")


def notes_of(filled: Callable[[str], str]) -> list[tuple[Any, ...]]:
    with psycopg.connect(filled("publisher"), autocommit=True) as publisher:
        return publisher.execute(
            "select incident, owner, round(extract(epoch from silent_until - noted_at) / 60), note, noted_by"
            " from ops.incident_note order by incident_note_id"
        ).fetchall()


def section_of(html: str, name: str) -> str:
    (section,) = re.findall(rf'<section class="section" id="{name}".*?</section>', html, re.DOTALL)
    return section


def test_incident_has_what_since_when_its_runs_and_what_was_tried(client: TestClient, incident: int) -> None:
    assert f'href="/incidents/{incident}"' in client.get("/status").text
    page = client.get(f"/incidents/{incident}")
    assert page.status_code == 200
    text = text_of(page.text)
    assert "10 rows of <b>about</b> 90" in text
    assert "10 rows of &lt;b&gt;about&lt;/b&gt; 90" in page.text
    assert "(2 hours ago)" in text
    assert "nobody looks after it" in text
    assert f"/status/sales_fact/{AS_OF}" in page.text
    # From the last result before it on.
    assert re.findall(r">(r[^<]*)</a>", section_of(page.text, "results")) == ["r2", "r+1", "r0"]
    assert "failed" in section_of(page.text, "loads")
    tried = text_of(section_of(page.text, "tried"))
    assert "Loaded sales fact" in tried
    assert "Failed to load sales fact" in tried
    assert "customer" not in tried, "the incident is about another source"
    assert client.get(f"/incidents/{incident + 1}").status_code == 404
    assert client.get(f"/incidents/{10**30}").status_code == 404


def test_person_takes_an_incident_silences_it_and_says_why(
    editor: TestClient, incident: int, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    said = {"owner": "Ann <b>", "silence": "8h", "note": "  the shop is <i>closed</i> "}
    answer = editor.post(f"/incidents/{incident}", data=said)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/incidents/{incident}#said")
    assert notes_of(filled) == [(VOLUME, "Ann <b>", 480, "the shop is <i>closed</i>", "user")]
    page = editor.get(f"/incidents/{incident}").text
    assert "owner: Ann &lt;b&gt;" in page
    assert "silent until" in page
    assert "the shop is &lt;i&gt;closed&lt;/i&gt;" in section_of(page, "said")
    listed = editor.get("/status").text
    assert "Ann &lt;b&gt;" in listed
    assert "silent until" in listed
    assert ">as it is: until " in page
    # Who adds a note does not end the silence.
    editor.post(f"/incidents/{incident}", data={"owner": "Ann", "silence": "keep", "note": "I look"})
    assert "silent until" in editor.get(f"/incidents/{incident}").text
    # The last word counts.
    editor.post(f"/incidents/{incident}", data={"owner": "", "silence": "", "note": ""})
    page = editor.get(f"/incidents/{incident}").text
    assert "nobody looks after it" in page
    assert "silent until" not in page
    assert len(notes_of(filled)) == 3


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"silence": "1y"}, 400), ({"owner": "x" * 201}, 400), ({"note": "x" * 2_001}, 400), ({"note": "a\x00b"}, 400),
    ],
)  # fmt: skip
def test_wrong_note_is_refused_and_not_lost(
    editor: TestClient, incident: int, filled: Callable[[str], str], form: dict[str, str], status: int
) -> None:
    answer = editor.post(f"/incidents/{incident}", data=form)
    assert answer.status_code == status
    if "note" in form and "\x00" not in form["note"]:
        assert form["note"] in answer.text
    assert notes_of(filled) == []


def test_only_who_may_edit_says_something_of_an_incident(
    client: TestClient, tokens: dict[str, str], incident: int, filled: Callable[[str], str]
) -> None:
    assert "that needs the right to edit the DAG" in client.get(f"/incidents/{incident}").text
    assert client.post(f"/incidents/{incident}", data={"owner": "me"}).status_code == 403
    with client_of(None) as browser:
        browser.cookies.set("_token", tokens["user"])
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert browser.post(f"/incidents/{incident}", data={"owner": "me"}, headers=foreign).status_code == 403
    assert notes_of(filled) == []

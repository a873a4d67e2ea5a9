"""The page Why, its CSV file, and the digest: over one warehouse with known figures, with a real mail server."""

import base64
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from psycopg.rows import dict_row

from ecommerce.alerts.digest import _comparison
from ecommerce.alerts.task_callbacks import alert_recovery, settle_run
from ecommerce.figures.movements import _BY_LINE, SPLITS, _query
from shop_pages.why import COMPARISONS
from tests.integration.alerts import conftest as alerts
from tests.integration.alerts.conftest import Mails, Receiver, connect_webhook, context_of
from tests.integration.shop_pages.conftest import AS_OF, YEAR_BEFORE

pytestmark = pytest.mark.usefixtures("patient")

# Fixtures of the alerts' tests: a webhook, a mail server, and the address of Airflow's UI.
receiver, mails, base_url = alerts.receiver, alerts.mails, alerts.base_url

TOYS = "Toys & <b>Games</b>"


def csv_of(client: TestClient, figure: str, against: str, by: str) -> dict[str, list[str]]:
    """Member → the other columns of the file."""
    answer = client.get(f"/why.csv?figure={figure}&day={AS_OF}&against={against}&by={by}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="why-{figure}-{by}-{AS_OF}-')
    _, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
    return {row[0]: row[1:] for row in rows}


# Figures of the fixture's docstring. The order of two categories is one of toys, which it is mostly for.
@pytest.mark.parametrize(
    ("figure", "against", "by", "effects"),
    [
        ("revenue", "day_before", "category", {TOYS: "260.00", "Food": "-100.00", "Books": "40.00"}),
        ("revenue", "day_before", "customer_kind", {"Returning customers": "100.00", "Guests": "100.00"}),
        ("revenue", "day_before", "payment_method", {"card": "100.00", "invoice": "100.00"}),
        ("revenue", "week_before", "category", {TOYS: "960.00", "Books": "-960.00"}),
        ("revenue", "year_before", "category", {TOYS: "460.00", "Books": "40.00"}),
        ("revenue", "year_before", "customer_kind",
         {"New customers": "-500.00", "Returning customers": "900.00", "Guests": "100.00"}),
        ("orders", "day_before", "category", {TOYS: "3", "Food": "-1"}),
        ("orders", "day_before", "customer_kind", {"Returning customers": "1", "Guests": "1"}),
        ("average_order_value", "week_before", "category", {TOYS: "-50.00", "Books": "-50.00"}),
        ("gross_margin", "day_before", "category", {TOYS: "-2.48", "Books": "-1.52"}),
        ("subscriptions", "day_before", "movement", {"Reactivated": "1", "Unchanged": "0"}),
        ("mrr", "year_before", "movement", {"Reactivated": "30.00", "Ended": "-40.00"}),
        ("conversion", "day_before", "customer_kind", {"Ordered before": "-15.63", "No order before": "-9.37"}),
    ],
)  # fmt: skip
def test_effects_are_those_of_the_fixture(
    client: TestClient, figure: str, against: str, by: str, effects: dict[str, str]
) -> None:
    assert {name: row[3] for name, row in csv_of(client, figure, against, by).items()} == effects


@pytest.mark.parametrize("figure", SPLITS)
def test_every_split_adds_up_to_the_published_difference(client: TestClient, figure: str) -> None:
    for against in COMPARISONS:
        page = client.get(f"/why?figure={figure}&day={AS_OF}&against={against}")
        assert page.status_code == 200
        assert "The facts are newer" not in page.text
        if "They cannot be compared" in page.text:
            assert all(csv_of(client, figure, against, by) == {} for by in SPLITS[figure].dimensions)
            continue
        shown = re.findall(r"<tfoot>.*?<strong>(.*?)</strong>", page.text, re.DOTALL)
        assert len(shown) == len(SPLITS[figure].dimensions)
        difference = Decimal(re.sub(r"[^\d.−+±]", "", shown[0]).replace("−", "-").replace("±", "").replace(",", ""))
        for by in SPLITS[figure].dimensions:
            rows = csv_of(client, figure, against, by)
            assert sum(Decimal(row[3]) for row in rows.values()) == difference, (against, by)
            if SPLITS[figure].base:
                assert all(Decimal(row[4]) + Decimal(row[5]) == Decimal(row[3]) for row in rows.values())


def test_today_and_the_chart_lead_to_the_page_that_a_link_reopens(client: TestClient) -> None:
    today = client.get("/today").text
    links = re.findall(r'href="(/why\?[^"]+)"', today)
    assert len(links) == len(SPLITS)
    path = f"/why?figure=revenue&amp;day={AS_OF}&amp;against=day_before"
    assert path in links
    assert path in client.get("/revenue").text
    for label in COMPARISONS:
        assert path.replace("day_before", label) in client.get(f"/rows/daily_revenue?order_date={AS_OF}").text
    page = client.get(path.replace("&amp;", "&")).text
    assert "Revenue on 1 Mar 2024: 1,000.00, +200.00 (+25.0 %) against 29 Feb 2024, the day before." in page
    assert "Mostly Toys &amp; &lt;b&gt;Games&lt;/b&gt; (+260.00), Books (+40.00); against it Food (−100.00)." in page
    assert "<b>Games" not in page
    assert client.get(path.replace("&amp;", "&")).text == page


def test_what_was_cancelled_refunded_or_rejected_is_said_where_it_differs(client: TestClient) -> None:
    page = client.get(f"/why?figure=revenue&day={AS_OF}&against=day_before").text
    said = page[page.index('id="left-out"') :].partition("</ul>")[0]
    assert dict(re.findall(r'<a href="([^"]*)">([^<]*)</a>', said)) == {
        f"/rows/daily_revenue?order_date={AS_OF}#cancelled": "2 lines cancelled (1,076.00); 29 Feb 2024: 0",
        f"/rows/daily_revenue?order_date={AS_OF}#fact_refunds":
            "4 refunds (59.50); 29 Feb 2024: 2 (11.25); refunds lower the net revenue, not this figure",
        f"/status/sales_fact/{AS_OF}#rejected": "1 row rejected, waiting in quarantine; 29 Feb 2024: 0",
    }  # fmt: skip
    # The lists have exactly that.
    cancelled = client.get(f"/rows/daily_revenue/cancelled.csv?order_date={AS_OF}").text.removeprefix("\ufeff")
    amounts = [Decimal(row["order_amount"]) for row in csv.DictReader(io.StringIO(cancelled))]
    assert (len(amounts), sum(amounts)) == (2, Decimal("1076.00"))
    assert 'id="cancelled"' in client.get(f"/rows/daily_revenue?order_date={AS_OF}").text
    assert "1 row: " in client.get(f"/status/sales_fact/{AS_OF}").text
    # Two days of which both have none, and a figure that is of no order line.
    assert 'id="left-out"' not in client.get("/why?figure=revenue&day=2024-02-28&against=day_before").text
    assert 'id="left-out"' not in client.get(f"/why?figure=conversion&day={AS_OF}&against=day_before").text


def test_days_and_figures_that_are_not_there_are_said(client: TestClient) -> None:
    assert "was not loaded" in client.get(f"/why?day={YEAR_BEFORE}&against=week_before&figure=revenue").text
    for query in ("figure=nothing", "against=ever", "day=2024-03-02", "day=1999-01-01"):
        assert client.get(f"/why?{query}").status_code == 404, query
    assert client.get("/why?day=x").status_code == 400
    assert client.get(f"/why.csv?day={AS_OF}&by=plan").status_code == 404


def test_facts_that_are_newer_than_the_marts_are_said(client: TestClient, filled: Callable[[str], str]) -> None:
    path = f"/why?figure=revenue&day={AS_OF}&against=year_before"
    forget: Callable[[], None] = cast("FastAPI", client.app).state.inspector._cache.clear
    change = "update core.fact_sales set order_amount = %s where date_key = %s and order_amount = %s"
    with psycopg.connect(filled("transformer"), autocommit=True) as connection:
        connection.execute(change, [61, AS_OF, 60])
        forget()
        page = client.get(path)
        connection.execute(change, [60, AS_OF, 61])
        forget()
    assert "The facts are newer than the marts, which were published with 1,000.00 on 1 Mar 2024." in page.text


def test_smallest_members_share_a_row(filled: Callable[[str], str]) -> None:
    query = _query(_BY_LINE, ("revenue",), most=1)
    with psycopg.connect(filled("inspector"), row_factory=dict_row) as connection:
        rows = connection.execute(query.encode(), {"day": AS_OF, "before": "2024-02-29"}).fetchall()
    found = {row["member"]: (row["members"], row["revenue_after"]) for row in rows if row["dimension"] == "category"}
    assert found.keys() == {TOYS, None}, "the largest one by itself"
    assert found[None][0] == 2
    assert found[TOYS][1] + found[None][1] == 1000


# -- the digest --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ops(filled: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    """The publisher's connection; no digest was sent before, and the publication has its as-of date."""
    with psycopg.connect(filled("publisher"), autocommit=True) as connection:
        connection.execute("truncate ops.digest")
        connection.execute("delete from ops.publication where run_id = 'next_run'")
        yield connection


def publish_again(run_id: str = "a_run") -> None:
    """What Airflow calls after a task that has published."""
    settle_run(context_of(run_id))


def digests(ops: psycopg.Connection) -> list[tuple]:
    return ops.execute("select as_of_date::text, sent_to, send_error, sent_at is not null from ops.digest").fetchall()


def test_digest_is_off_by_default(ops: psycopg.Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_webhook(monkeypatch, receiver.url)
    publish_again()
    assert digests(ops) == []
    assert [body for body in receiver.posted if "digest" in body] == []


def test_digest_is_sent_once_a_day_to_all_channels(
    ops: psycopg.Connection,
    receiver: Receiver,
    mails: Mails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect_webhook(monkeypatch, receiver.url, digest=True)
    want_digest_by_mail(monkeypatch, mails)
    for run_id in ("a_run", "a_run", "another_run"):
        publish_again(run_id)
    (posted,) = [body for body in receiver.posted if "digest" in body]
    assert posted["text"].startswith("Shop on 1 Mar 2024: Revenue 1,000.00 (±0.0 % against the week before)")
    assert posted["digest"]["as_of"] == AS_OF
    assert [figure["name"] for figure in posted["digest"]["figures"]] == list(SPLITS)
    moved = posted["digest"]["moved"][0]
    assert (moved["figure"], moved["against"], moved["difference"]) == ("revenue", "2024-02-23", 0.0)
    ((recipients, mail),) = [found for found in mails.received if found[1]["Subject"].startswith("Shop on")]
    assert recipients == ["boss@shop.test"]
    pictures: dict[Any, Any] = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert pictures.keys() == {f"{name}.png" for name in SPLITS}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    (html,) = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    body = html.get_content()
    ids = {part["Content-ID"].strip("<>") for part in mail.iter_attachments()}
    assert set(re.findall(r'src="cid:([^"]+)"', body)) == ids
    assert "<b>Games" not in body
    assert digests(ops) == [(AS_OF, ["alerts_webhook", "alerts_email"], None, True)]


def test_digest_lists_what_is_open_and_not_what_is_over(
    ops: psycopg.Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops.execute(
        """
        insert into ops.alert (
            incident, dag_id, severity, message, first_run_id, last_run_id, opened_at, last_seen_at, closed_at, sent_at
        )
        select name, 'a_dag', 'fail', 'it failed', 'r', 'r', now(), now(), closed_at, now()
        from (values ('is open', null), ('is closed', now())) as alert (name, closed_at);
        insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at)
        values ('waiting_run', 'a_dag', false, 'd', now());
        insert into ops.decision (
            run_id, check_name, subjects, message, days, difference, asked_at, answer_until, decision, decided_at
        )
        select
            'waiting_run', name, '{}', 'fewer orders', '{}', '[]', now(), now() + until, decision,
            case when decision is not null then now() end
        from (
            values
            ('volume', interval '1 hour', null), ('amount', interval '1 hour', 'approved'),
            ('distribution', interval '-1 hour', null)
        ) as question (name, until, decision)
        """
    )
    try:
        connect_webhook(monkeypatch, receiver.url, digest=True)
        publish_again()
    finally:
        ops.execute(
            "delete from ops.alert where dag_id = 'a_dag'; delete from ops.decision where run_id = 'waiting_run';"
            " delete from ops.build where run_id = 'waiting_run'"
        )
    (posted,) = [body for body in receiver.posted if "digest" in body]
    needs = {need["text"]: need["items"] for need in posted["digest"]["needs"]}
    (incidents,) = [items for text, items in needs.items() if "open incident" in text]
    assert [item for item in incidents if item.startswith("is ")] == ["is open: it failed"]
    (question,) = needs["1 check waits for a person"]
    assert "since the check volume failed: fewer orders." in question
    assert list(needs)[2:] == [
        "4 orders of 30 days to review, 4 of them urgent",
        "1 product to order",
        "1 product sold out",
    ]


def test_digest_of_another_day_is_not_sent_any_more_and_a_rollback_sends_none(
    ops: psycopg.Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_webhook(monkeypatch, receiver.url, digest=True)
    receiver.status = 500
    publish_again()
    ops.execute("update ops.digest set digest_day = digest_day - 1")
    receiver.status = 200
    alert_recovery(context_of("extract_run"))
    ops.execute(
        """
        insert into ops.publication (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted,
            published_at, as_of_date, restores)
        values (nextval('ops.publication_id_seq'), 'next_run', 'daily_revenue', 0, 0, 0, now(), '2024-03-02', 1)
        """
    )
    publish_again("next_run")
    assert [body for body in receiver.posted if "digest" in body] == []
    assert [row[0] for row in digests(ops)] == [AS_OF]


@pytest.mark.parametrize(
    ("covered_first", "label"),
    [("2024-02-23", "week before"), ("2024-02-24", "day before"), ("2024-02-29", "day before"), ("2024-03-01", None)],
)
def test_digest_of_a_new_shop_is_compared_with_the_day_before(covered_first: str, label: str | None) -> None:
    assert _comparison(date.fromisoformat(AS_OF), date.fromisoformat(covered_first)) == label


def test_second_publication_of_the_day_sends_none_and_next_day_only_with_newer_figures(
    ops: psycopg.Connection,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect_webhook(monkeypatch, receiver.url, digest=True)
    publish_again()
    publication = """
        insert into ops.publication (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted,
            published_at, as_of_date)
        values (nextval('ops.publication_id_seq'), 'next_run', 'daily_revenue', 0, 0, 0, now(), %s)"""
    ops.execute(publication, ["2024-03-02"])
    publish_again("next_run")
    assert [row[0] for row in digests(ops)] == [AS_OF]
    yesterday = "update ops.digest set digest_day = digest_day - 1"
    ops.execute(yesterday)
    publish_again("next_run")
    assert [row[0] for row in digests(ops)] == [AS_OF, "2024-03-02"]
    ops.execute(yesterday)
    publish_again("next_run")
    assert len(digests(ops)) == 2
    assert len([body for body in receiver.posted if "digest" in body]) == 2


def test_channel_that_does_not_answer_gets_it_from_the_next_task(
    ops: psycopg.Connection,
    receiver: Receiver,
    mails: Mails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect_webhook(monkeypatch, receiver.url, digest=True)
    want_digest_by_mail(monkeypatch, mails)
    receiver.status = 500
    publish_again()
    assert digests(ops) == [(AS_OF, ["alerts_email"], "alerts_webhook: it answered 500", False)]
    receiver.status = 200
    alert_recovery(context_of("extract_run"))
    alert_recovery(context_of("extract_run"))
    assert digests(ops) == [(AS_OF, ["alerts_email", "alerts_webhook"], None, True)]
    assert len([body for body in receiver.posted if "digest" in body]) == 1
    assert len([mail for _, mail in mails.received if mail["Subject"].startswith("Shop on")]) == 1


def test_digest_that_another_task_sends_is_left_to_it(
    ops: psycopg.Connection,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.status = 500
    connect_webhook(monkeypatch, receiver.url, digest=True)
    publish_again()
    receiver.status = 200
    ops.execute("update ops.digest set sending_since = clock_timestamp()")
    publish_again()
    assert receiver.posted == []
    # Its process is gone.
    ops.execute("update ops.digest set sending_since = clock_timestamp() - interval '3 minutes'")
    publish_again()
    assert len([body for body in receiver.posted if "digest" in body]) == 1


def want_digest_by_mail(monkeypatch: pytest.MonkeyPatch, mails: Mails) -> None:
    account = json.loads(os.environ["AIRFLOW_CONN_ALERTS_EMAIL"])
    account["extra"] |= {"digest": True, "digest_to": "boss@shop.test"}
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS_EMAIL", json.dumps(account))


def test_preview_shows_mail_with_pictures_and_text(client: TestClient) -> None:
    page = client.get("/digest")
    assert page.status_code == 200
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page.text)
    assert len(pictures) == len(SPLITS)
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert 'href="/why?figure=revenue&amp;day=2024-03-01&amp;against=week_before"' in page.text
    assert "style=" not in page.text
    assert "<b>Games" not in page.text
    assert "1 product sold out" in page.text

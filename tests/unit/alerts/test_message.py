"""What an alert says, to a person and to a machine."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ecommerce.alerts.incidents import Alert, extracts_without_work, of_check, of_deadline, of_task
from ecommerce.alerts.message import links, message_of
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Request, Window

DAY = Window.of_days(date(2024, 3, 1), date(2024, 3, 3))
SEEN = datetime(2024, 3, 4, 0, 5, tzinfo=UTC)


def alert(**changes: Any) -> Alert:
    known = {"observed": Decimal("1234.50"), "expected": None, "window_start": DAY.start, "window_end": DAY.end}
    return replace(of_check("a_dag", "a_run", "quarantined", "sales_fact", "warn", "1 %", SEEN), **known | changes)


def test_what_an_incident_is_known_by_has_no_day() -> None:
    assert alert().incident == "a_dag quarantined sales_fact"
    assert of_task("a_dag", "extract.sales_fact", "a_run", "m", DAY).incident == "a_dag.extract.sales_fact"
    assert of_deadline("a_dag", "a_run", "m", None).incident == "a_dag deadline"


def test_lines_that_have_nothing_to_say_are_left_out() -> None:
    assert message_of(alert(), "").lines == (
        "1 %",
        "Observed: 1,234.50, expected: –",
        "Window: 2024-03-01 to 2024-03-03 (UTC)",
    )
    assert message_of(alert(observed=None, window_end=None), "").lines == ("1 %",)


def test_figures_are_numbers_and_moments_texts_in_json() -> None:
    fields = json.loads(json.dumps(message_of(alert(expected=Decimal("90.000")), "").payload))["alert"]
    assert (fields["observed"], fields["expected"]) == (1234.5, 90)
    assert (fields["window_start"], fields["window_end"]) == ("2024-03-01", "2024-03-04")
    assert fields["opened_at"] == "2024-03-04T00:05:00+00:00"
    assert (fields["state"], fields["run_url"], fields["page_url"]) == ("open", None, None)


def test_one_that_is_over_says_so() -> None:
    message = message_of(alert(closed_at=datetime(2024, 3, 5, 1, 2, tzinfo=UTC)), "")
    assert message.title == "[recovered] a_dag quarantined sales_fact"
    assert "Seen to be well at 2024-03-05 01:02 UTC" in message.lines
    assert message.fields["state"] == "closed"


def test_nothing_in_a_message_is_markup_of_the_receiver() -> None:
    message = message_of(alert(message='<!channel> <a href="x">&</a>', dag_id="a/dag"), "https://airflow.test")
    assert '&lt;!channel&gt; &lt;a href="x"&gt;&amp;&lt;/a&gt;' in message.payload["text"]
    assert "&lt;!channel&gt; &lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;<br>" in message.html
    assert message.fields["message"] == '<!channel> <a href="x">&</a>'
    assert '<a href="https://airflow.test/dags/a%2Fdag/runs/a_run">' in message.html


def test_a_message_is_no_longer_than_a_service_takes() -> None:
    assert len(message_of(alert(message="x" * 10_000), "").text) < 2_000


@pytest.mark.parametrize("base", ["https://airflow.test/team", "https://airflow.test/team/"])
def test_links_lead_into_the_ui_wherever_it_is(base: str) -> None:
    assert links("a_dag", "manual__2024-03-01T00:00:00+00:00", base) == (
        "https://airflow.test/team/dags/a_dag/runs/manual__2024-03-01T00%3A00%3A00%2B00%3A00",
        "https://airflow.test/team/plugin/shop/shop/status",
    )


def test_extracts_that_loaded_nothing() -> None:
    assert extracts_without_work(Request(DAY, frozenset(SOURCES)), NO_EXCLUSIONS) == []
    request = Request(DAY, frozenset(SOURCES) - {"customer"})
    left_out = Exclusions(sources=frozenset({"weather_data"}))
    assert extracts_without_work(request, left_out) == ["extract.customer", "extract.weather_data"]

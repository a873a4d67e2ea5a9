"""The message of an incident: its lines, its JSON, escaping, length and links; and how incidents are identified."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ecommerce.alerts.incidents import (
    Alert,
    alert_of_check,
    alert_of_deadline,
    alert_of_task,
    extracts_without_load,
)
from ecommerce.alerts.message import links, message_of
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Request, Window

DAY = Window.of_days(date(2024, 3, 1), date(2024, 3, 3))
SEEN = datetime(2024, 3, 4, 0, 5, tzinfo=UTC)


def alert(**changes: Any) -> Alert:
    details = {"observed": Decimal("1234.50"), "expected": None, "window_start": DAY.start, "window_end": DAY.end}
    return replace(
        alert_of_check("a_dag", "a_run", "quarantined", "sales_fact", "warn", "1 %", SEEN), **details | changes
    )


def test_incident_name_has_no_day() -> None:
    assert alert().incident == "a_dag quarantined sales_fact"
    assert alert_of_task("a_dag", "extract.sales_fact", "a_run", "m", DAY).incident == "a_dag.extract.sales_fact"
    assert alert_of_deadline("a_dag", "a_run", "m", None).incident == "a_dag deadline"


def test_message_leaves_out_lines_without_content() -> None:
    assert message_of(alert(), "").lines == (
        "1 %",
        "Observed: 1,234.50, expected: –",
        "Window: 2024-03-01 to 2024-03-03 (UTC)",
    )
    assert message_of(alert(observed=None, window_end=None), "").lines == ("1 %",)


def test_payload_has_figures_as_numbers_and_times_as_texts() -> None:
    fields = json.loads(json.dumps(message_of(alert(expected=Decimal("90.000")), "").payload))["alert"]
    assert (fields["observed"], fields["expected"]) == (1234.5, 90)
    assert (fields["window_start"], fields["window_end"]) == ("2024-03-01", "2024-03-04")
    assert fields["opened_at"] == "2024-03-04T00:05:00+00:00"
    assert (fields["state"], fields["run_url"], fields["page_url"]) == ("open", None, None)


def test_message_of_closed_incident_names_the_recovery() -> None:
    message = message_of(alert(closed_at=datetime(2024, 3, 5, 1, 2, tzinfo=UTC)), "")
    assert message.title == "[recovered] a_dag quarantined sales_fact"
    assert "Recovered at 2024-03-05 01:02 UTC" in message.lines
    assert message.fields["state"] == "closed"


def test_message_escapes_markup() -> None:
    message = message_of(alert(message='<!channel> <a href="x">&</a>', dag_id="a/dag"), "https://airflow.test")
    assert '&lt;!channel&gt; &lt;a href="x"&gt;&amp;&lt;/a&gt;' in message.payload["text"]
    assert "&lt;!channel&gt; &lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;<br>" in message.html
    assert message.fields["message"] == '<!channel> <a href="x">&</a>'
    assert '<a href="https://airflow.test/dags/a%2Fdag/runs/a_run">' in message.html


def test_message_is_shortened() -> None:
    assert len(message_of(alert(message="x" * 10_000), "").text) < 2_000


@pytest.mark.parametrize("base", ["https://airflow.test/team", "https://airflow.test/team/"])
def test_links_keep_the_path_of_the_base_url(base: str) -> None:
    assert links("a_dag", "manual__2024-03-01T00:00:00+00:00", base) == (
        "https://airflow.test/team/dags/a_dag/runs/manual__2024-03-01T00%3A00%3A00%2B00%3A00",
        "https://airflow.test/team/plugin/shop/shop/status",
    )


def test_extracts_without_load_are_not_requested_or_failed() -> None:
    assert extracts_without_load(Request(DAY, frozenset(SOURCES)), NO_EXCLUSIONS) == []
    request = Request(DAY, frozenset(SOURCES) - {"customer"})
    exclusions = Exclusions(sources=frozenset({"weather_data"}))
    assert extracts_without_load(request, exclusions) == ["extract.customer", "extract.weather_data"]


ATTACK = "sales\n\n# All fine\n@channel @here [Yes](https://evil.test) ![](https://evil.test/pixel.png) www.evil.test"


def test_value_in_message_calls_nobody_and_is_no_link() -> None:
    message = message_of(
        alert(message=ATTACK, subject=ATTACK, incident=f"a_dag volume {ATTACK}"), "https://airflow.test"
    )
    for text in (message.payload["text"], message.html):
        of_airflow = text.replace("https://airflow.test", "")
        assert "://" not in of_airflow
        assert "@" not in of_airflow
        assert "www." not in of_airflow
    assert "](" not in message.payload["text"]
    assert [line.split()[0] for line in message.payload["text"].splitlines()] == [
        "[warn]", "sales", "Observed:", "Window:", "Run:", "Status:",
    ]  # fmt: skip
    assert "\n" not in message.title


@pytest.mark.parametrize("forged", ["Run: https://evil.test", "Status: https://evil.test", "x\nRun: https://evil.test"])
def test_value_that_looks_like_the_link_to_the_run_is_none(forged: str) -> None:
    message = message_of(alert(message=forged), "https://airflow.test")
    assert "https://evil.test" not in message.html
    assert "https://evil.test" not in message.payload["text"]
    assert message.html.count("<a ") == 2

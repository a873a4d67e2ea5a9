"""`read_checks`: the project's checks.yml, and the message for each kind of mistake in such a file."""

from pathlib import Path
from typing import Any

import pytest

from ecommerce.audit import checks_file
from ecommerce.audit.checks_file import CHECKS_FILE, check_of, read_checks
from ecommerce.audit.table_checks import Orphans
from ecommerce.common.errors import CheckSettingsError
from ecommerce.common.shop import VARIABLE


def test_project_uses_each_kind_of_check() -> None:
    kinds = {check.kind for check in read_checks().checks.values()}
    assert kinds == checks_file._KINDS
    assert all(check.description.endswith("?") for check in read_checks().checks.values())
    assert "2024-11-29" in {str(day) for day in read_checks().incidents}


def test_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checks.yml"
    file.write_text(CHECKS_FILE.read_text())
    monkeypatch.setattr(checks_file, "CHECKS_FILE", file)
    assert check_of("freshness").wait_minutes == 5
    file.write_text(CHECKS_FILE.read_text().replace("wait_minutes: 5\n", "wait_minutes: 6\n"))
    assert check_of("freshness").wait_minutes == 6
    with pytest.raises(
        CheckSettingsError, match=r"has no check 'gone' \(any more\); there are freshness, completeness"
    ):
        check_of("gone")


MISTAKES = [
    ("severity: fatal", "line 4: checks.it.severity: Input should be 'fail' or 'warn'"),
    ("wait_minute: 5", "line 4: checks.it.wait_minute: Extra inputs are not permitted"),
    ("wait_minutes: long", "line 4: checks.it.wait_minutes: Input should be a valid number"),
    ("sources: [sales]", "line 4: checks.it.sources: no source is called sales; there are kafka_stream"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_mistake_is_named_by_line_check_and_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    assert_refused(
        tmp_path, monkeypatch, f"checks:\n  it:\n    kind: freshness\n    {line}\n    description: Is it?\n", message
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("checks:\n  it: {kind: nonsense, description: x}", "line 2: checks.it: Input tag 'nonsense'"),
        ("checks:\n  it: {description: x}", "line 2: checks.it: Unable to extract tag"),
        ("checks:\n  it: {kind: freshness}", "line 2: checks.it.description: Field required"),
        ("checks:\n  It: {kind: freshness, description: x}", "line 2: checks.It: String should match pattern"),
        ("checks: {}", "line 1: checks: Dictionary should have at least 1 item"),
        ("", "line 1: the file: Input should be a valid dictionary"),
        ("checks: {it: [", "checks.yml is no YAML: while parsing"),
        # The second check would take the place of the first without a word, whether or not it has a mistake.
        (
            "checks:\n  it: {kind: freshness, description: x}\n  it: {kind: freshness, description: y}",
            "checks.yml is no YAML: it is there twice, in line 2 and in line 3",
        ),
        (
            "checks:\n  it: {kind: freshness, description: x}\n  it: {kind: nonsense, description: y}",
            "checks.yml is no YAML: it is there twice, in line 2 and in line 3",
        ),
        (
            "checks:\n  it:\n    kind: completeness\n    description: x\n    warn_above: 5\n    fail_above: 1",
            "line 2: checks.it: warn_above 5 is greater than fail_above 1",
        ),
        (
            "checks:\n  it: {kind: sql, description: x, file: nowhere.sql}",
            "line 2: checks.it.file: there is no file nowhere.sql in include/quality",
        ),
        (
            "checks:\n  it: {kind: sql, description: x, file: ../secret.sql}",
            "line 2: checks.it.file: String should match pattern",
        ),
        (
            "checks:\n  it: {kind: amount, description: x, table: raw.t, day: d, warn_beyond: 3}",
            "line 2: checks.it: `amount` is the column of a check of kind amount, and of no other",
        ),
        (
            "checks:\n  it:\n    kind: reconciliation\n    description: x\n    pairs:\n"
            "      - {observed: {table: a.b}, expected: {table: a.c}}",
            "line 6: checks.it.pairs.0: to be compared by day, both sides need a `day`",
        ),
        (
            "checks:\n  it:\n    kind: uniqueness\n    description: x\n    tables:\n"
            "      - {table: 'a.b; drop table x', key: [id]}",
            "line 6: checks.it.tables.0.table: String should match pattern",
        ),
        (
            "checks:\n  it:\n    kind: distribution\n    description: x\n    columns:\n"
            "      - {table: core.fact_sales, column: payment_method, day: ' '}",
            "line 6: checks.it.columns.0.day: String should have at least 1 character",
        ),
        (
            "checks:\n  it:\n    kind: distribution\n    description: x\n    columns:\n"
            "      - {table: core.dim_customer, column: customer_email, day: d}",
            "line 6: checks.it.columns.0.column: customer_email is personal",
        ),
        (
            "checks:\n  it: {kind: reconciliation_source, description: x, source: customer, amount: a}",
            "line 2: checks.it.source: customer is no source that replaces its window, in Postgres; such are",
        ),
        (
            "known_incidents:\n  - {name: x, first_day: 2024-03-02, last_day: 2024-03-01}\n"
            "checks:\n  it: {kind: freshness, description: x}",
            "line 2: known_incidents.0: give `day`, or `first_day` and a `last_day` that is not before it",
        ),
    ],
)
def test_mistake_elsewhere_is_named_by_line_and_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    assert_refused(tmp_path, monkeypatch, text, message)


def assert_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    file = tmp_path / "checks.yml"
    file.write_text(text)
    monkeypatch.setattr(checks_file, "CHECKS_FILE", file)
    with pytest.raises(CheckSettingsError) as error:
        read_checks()
    assert message in str(error.value)
    assert str(error.value).startswith("checks.yml")


ABOUT_ABSENT = """
checks:
  freshness: {kind: freshness, description: x}
  some: {kind: completeness, description: x, sources: [weather_data, sales_fact]}
  weather: {kind: completeness, description: x, sources: [weather_data]}
  events: {kind: volume, description: x, table: raw.kafka_stream, day: d, weeks: 8, minimum_weeks: 4, warn_beyond: 4}
  mix:
    kind: distribution
    description: x
    columns:
      - {table: raw.kafka_stream, column: interaction_type, day: d}
      - {table: raw.sales_fact, column: payment_method, day: order_date}
  keys:
    kind: uniqueness
    description: x
    tables: [{table: core.fact_weather, key: [city]}, {table: core.fact_subscriptions, key: [subscription_id]}]
  sums:
    kind: reconciliation
    description: x
    pairs:
      - observed: {table: core.fact_sales, day: d}
        expected: {table: raw.sales_fact, day: d}
      - observed: {table: marts_build.conversion_funnel_daily, day: d}
        expected: {table: core.fact_customer_events, day: d}
"""


def test_checks_of_absent_sources_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checks.yml"
    file.write_text(ABOUT_ABSENT)
    monkeypatch.setattr(checks_file, "CHECKS_FILE", file)
    assert set(read_checks().checks) == {"freshness", "some", "weather", "events", "mix", "keys", "sums"}
    monkeypatch.setenv(VARIABLE, "example")
    checks: dict[str, Any] = dict(read_checks().checks)
    assert set(checks) == {"freshness", "some", "mix", "sums"}
    assert checks["freshness"].sources == ["product", "product_category", "sales_fact", "refund", "customer"]
    assert checks["some"].sources == ["sales_fact"]
    assert [column.table for column in checks["mix"].columns] == ["raw.sales_fact"]
    assert [pair.observed.table for pair in checks["sums"].pairs] == ["core.fact_sales"]


def test_orphans_are_not_checked_where_the_shop_lacks_the_source_of_the_parent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shop.yml").write_text(
        "sources:\n  sales_fact: {connection: shop_postgres, table: public.sales_fact}\n"
        "  customer: {connection: shop_postgres, table: public.customer}\n"
    )
    monkeypatch.setenv("ECOMMERCE_SHOP", str(tmp_path))
    orphans = read_checks().checks["orphans"]
    assert isinstance(orphans, Orphans)
    assert [(link.table, link.parent) for link in orphans.links] == [("core.fact_sales", "core.dim_customer")]

"""Kinds `freshness` and `completeness`: which days of the window, and before it, are loaded."""

from collections.abc import Callable

import pytest

from ecommerce.build import lease
from ecommerce.common.errors import QuarantineOverflow
from ecommerce.common.sources import SOURCES
from tests.integration.support import Loader


@pytest.fixture
def covered(loader: Loader) -> Callable[..., None]:
    """Record a load of one source, or of all, for some days; the last day is excluded."""

    def covered(start: str, end: str, source: str | None = None, status: str = "loaded") -> None:
        for name in [source] if source else SOURCES:
            loader.connection.execute(
                """
                insert into ops.load_batch (source, window_start, window_end, status, started_at)
                values (%s, %s, %s, %s, now())
                """,
                [name, start, end, status],
            )

    return covered


def test_freshness_passes_with_every_day_loaded(evaluate, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02")
    covered("2024-03-02", "2024-03-10")
    message = "all 3 days of 2024-03-01 to 2024-03-03 are loaded"
    assert evaluate("freshness", "2024-03-01", "2024-03-03") == [(source, "pass", message) for source in SOURCES]


@pytest.mark.parametrize(
    ("spans", "missing", "first"),
    [
        ([], 3, "2024-03-01"),
        ([("2024-03-01", "2024-03-03")], 1, "2024-03-03"),
        ([("2024-03-01", "2024-03-02"), ("2024-03-03", "2024-03-04")], 1, "2024-03-02"),
        ([("2024-02-01", "2024-03-01"), ("2024-03-04", "2024-04-01")], 3, "2024-03-01"),
    ],
)
def test_freshness_fails_for_missing_days(
    evaluate, covered: Callable[..., None], spans: list, missing: int, first: str
) -> None:
    for source in set(SOURCES) - {"customer"}:
        covered("2024-03-01", "2024-03-04", source)
    for start, end in spans:
        covered(start, end, "customer")
    message = f"{missing} of the 3 days of 2024-03-01 to 2024-03-03 are not loaded, the first is {first}"
    results = evaluate("freshness", "2024-03-01", "2024-03-03")
    assert ("customer", "fail", message) in results
    assert [subject for subject, status, _ in results if status != "pass"] == ["customer"]


def test_freshness_names_a_single_day_once(evaluate, covered: Callable[..., None]) -> None:
    assert {message for *_, message in evaluate("freshness", "2024-03-01")} == {"2024-03-01 is not loaded"}
    covered("2024-03-01", "2024-03-02")
    assert {message for *_, message in evaluate("freshness", "2024-03-01")} == {"2024-03-01 is loaded"}


def test_freshness_ignores_failed_load(evaluate, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02", status="failed")
    assert {status for _, status, _ in evaluate("freshness", "2024-03-01")} == {"fail"}


def test_freshness_ignores_load_of_older_day(evaluate, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02")
    covered("2024-02-01", "2024-02-02")
    assert {status for _, status, _ in evaluate("freshness", "2024-02-01")} == {"pass"}
    assert {status for _, status, _ in evaluate("freshness", "2024-03-02")} == {"fail"}


def test_freshness_warns_for_source_that_was_not_requested(evaluate, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02", "product")
    results = evaluate("freshness", "2024-03-01", sources=["product"])
    assert {subject: status for subject, status, _ in results} == {
        source: "pass" if source == "product" else "warn" for source in SOURCES
    }


def test_freshness_counts_real_load_and_not_a_rolled_back_one(evaluate, loader: Loader) -> None:
    row: dict[str, str | None] = {"product_id": "P", "product_name": "Ball"}
    loader.load("product", "2024-03-01", rows=[row])
    with pytest.raises(QuarantineOverflow):
        loader.load("product", "2024-03-02", rows=[{}] * 20)
    results = evaluate("freshness", "2024-03-01", "2024-03-02", sources=["product"])
    message = "1 of the 2 days of 2024-03-01 to 2024-03-02 are not loaded, the first is 2024-03-02"
    assert ("product", "fail", message) in results


def test_completeness_warns_for_missing_days_before_the_window(evaluate, covered: Callable[..., None]) -> None:
    for source in set(SOURCES) - {"customer"}:
        covered("2024-03-01", "2024-03-11", source)
    covered("2024-03-01", "2024-03-04", "customer")
    covered("2024-03-06", "2024-03-11", "customer")
    results = {subject: (status, message) for subject, status, message in evaluate("completeness", "2024-03-10")}
    assert results.pop("customer") == (
        "warn",
        "2 of the 10 days up to 2024-03-10 were never loaded: 2024-03-04, 2024-03-05",
    )
    assert set(results.values()) == {("pass", "0 of the 10 days up to 2024-03-10 were never loaded")}


def test_completeness_fails_above_its_limit_and_ignores_days_after_the_window(
    evaluate, only: Callable[..., str], covered: Callable[..., None]
) -> None:
    check = only("kind: completeness, sources: [customer], range_days: 5, warn_above: 0, fail_above: 1")
    covered("2024-03-01", "2024-03-05", "customer")
    assert evaluate(check, "2024-03-04")[0][1] == "pass"
    assert evaluate(check, "2024-03-05")[0][1] == "warn"
    assert evaluate(check, "2024-03-06")[0] == (
        "customer",
        "fail",
        "2 of the 5 days up to 2024-03-06 were never loaded: 2024-03-05, 2024-03-06",
    )


def test_freshness_of_failed_source_does_not_fail_the_task(
    evaluate, loader: Loader, covered: Callable[..., None]
) -> None:
    for source in set(SOURCES) - {"weather_data"}:
        covered("2024-03-01", "2024-03-02", source)
    exclusions = lease.Exclusions(frozenset({"weather_data"}), frozenset({"fact_weather"}))
    lease.take(loader.connection, "a_dag", "a_run", project="p", full_refresh=False, exclusions=exclusions)
    failed = [subject for subject, status, _ in evaluate("freshness", "2024-03-01") if status == "fail"]
    assert failed == ["weather_data"]

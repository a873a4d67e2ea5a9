"""A run is published only when every day of its window is loaded, for every source that it read."""

from collections.abc import Callable

import pytest

from ecommerce.build import lease
from ecommerce.common.errors import QuarantineOverflow
from ecommerce.common.sources import SOURCES
from tests.integration.support import Loader


@pytest.fixture
def covered(loader: Loader) -> Callable[..., None]:
    """Note in the ledger that a source, or all of them, was loaded for these days (the last one excluded)."""

    def covered(start: str, end: str, source: str | None = None, status: str = "loaded") -> None:
        for name in [source] if source else SOURCES:
            loader.connection.execute(
                "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
                " values (%s, %s, %s, %s, now())",
                [name, start, end, status],
            )

    return covered


def test_every_day_is_loaded(judge, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02")
    covered("2024-03-02", "2024-03-10")
    message = "all 3 days of 2024-03-01 to 2024-03-03 are loaded"
    assert judge("freshness", "2024-03-01", "2024-03-03") == [(source, "pass", message) for source in SOURCES]


@pytest.mark.parametrize(
    ("spans", "missing", "first"),
    [
        ([], 3, "2024-03-01"),
        ([("2024-03-01", "2024-03-03")], 1, "2024-03-03"),
        ([("2024-03-01", "2024-03-02"), ("2024-03-03", "2024-03-04")], 1, "2024-03-02"),
        ([("2024-02-01", "2024-03-01"), ("2024-03-04", "2024-04-01")], 3, "2024-03-01"),
    ],
)
def test_a_day_is_missing(judge, covered: Callable[..., None], spans: list, missing: int, first: str) -> None:
    for source in set(SOURCES) - {"customer"}:
        covered("2024-03-01", "2024-03-04", source)
    for start, end in spans:
        covered(start, end, "customer")
    message = f"{missing} of the 3 days of 2024-03-01 to 2024-03-03 are not loaded, the first {first}"
    judged = judge("freshness", "2024-03-01", "2024-03-03")
    assert ("customer", "fail", message) in judged
    assert [subject for subject, status, _ in judged if status != "pass"] == ["customer"]


def test_a_load_that_did_not_end_well_does_not_count(judge, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02", status="failed")
    assert {status for _, status, _ in judge("freshness", "2024-03-01")} == {"fail"}


def test_an_old_day_that_is_read_again_does_not_make_today_fresh(judge, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02")
    covered("2024-02-01", "2024-02-02")
    assert {status for _, status, _ in judge("freshness", "2024-02-01")} == {"pass"}
    assert {status for _, status, _ in judge("freshness", "2024-03-02")} == {"fail"}


def test_a_source_that_the_run_left_out_warns(judge, covered: Callable[..., None]) -> None:
    covered("2024-03-01", "2024-03-02", "product")
    judged = judge("freshness", "2024-03-01", sources=["product"])
    assert {subject: status for subject, status, _ in judged} == {
        source: "pass" if source == "product" else "warn" for source in SOURCES
    }


def test_a_real_load_counts_and_one_that_failed_does_not(judge, loader: Loader) -> None:
    row: dict[str, str | None] = {"product_id": "P", "product_name": "Ball"}
    loader.load("product", "2024-03-01", rows=[row])
    with pytest.raises(QuarantineOverflow):
        loader.load("product", "2024-03-02", rows=[{}] * 20)
    judged = judge("freshness", "2024-03-01", "2024-03-02", sources=["product"])
    message = "1 of the 2 days of 2024-03-01 to 2024-03-02 are not loaded, the first 2024-03-02"
    assert ("product", "fail", message) in judged


def test_missing_days_before_the_window_warn(judge, covered: Callable[..., None]) -> None:
    for source in set(SOURCES) - {"customer"}:
        covered("2024-03-01", "2024-03-11", source)
    covered("2024-03-01", "2024-03-04", "customer")
    covered("2024-03-06", "2024-03-11", "customer")
    judged = {subject: (status, message) for subject, status, message in judge("completeness", "2024-03-10")}
    assert judged.pop("customer") == (
        "warn",
        "2 of the 10 days to 2024-03-10 were never loaded: 2024-03-04, 2024-03-05",
    )
    assert set(judged.values()) == {("pass", "0 of the 10 days to 2024-03-10 were never loaded")}


def test_so_many_missing_days_fail_and_no_day_after_the_window_is_missed(
    judge, only: Callable[..., str], covered: Callable[..., None]
) -> None:
    check = only("kind: completeness, sources: [customer], range_days: 5, warn_above: 0, fail_above: 1")
    covered("2024-03-01", "2024-03-05", "customer")
    assert judge(check, "2024-03-04")[0][1] == "pass"
    assert judge(check, "2024-03-05")[0][1] == "warn"
    assert judge(check, "2024-03-06")[0] == (
        "customer",
        "fail",
        "2 of the 5 days to 2024-03-06 were never loaded: 2024-03-05, 2024-03-06",
    )


def test_a_source_that_could_not_be_loaded_is_stale_and_holds_back_nothing_else(
    judge, loader: Loader, covered: Callable[..., None]
) -> None:
    for source in set(SOURCES) - {"weather_data"}:
        covered("2024-03-01", "2024-03-02", source)
    without = lease.Exclusions(frozenset({"weather_data"}), frozenset({"fact_weather"}))
    lease.take(loader.connection, "a_dag", "a_run", project="p", full_refresh=False, exclusions=without)
    failed = [subject for subject, status, _ in judge("freshness", "2024-03-01") if status == "fail"]
    assert failed == ["weather_data"]

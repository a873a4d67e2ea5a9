"""Kind `growth`: a mart that grows to many times its rows."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.support import Loader, acting_as

DAY = "2024-03-01"
Only = Callable[..., str]
#: Schema → the role whose tables lie in it.
OWNERS = {"marts_build": "transformer", "marts": "publisher"}
SETTINGS = "kind: growth, minimum_rows: 100, warn_above: 10"


@pytest.fixture
def marts(loader: Loader) -> Iterator[Callable[..., None]]:
    """Make a mart of so many rows, and of so many published ones; None: it was never published."""

    def drop() -> None:
        for schema, owner in OWNERS.items():
            with acting_as(loader.connection, owner):
                loader.connection.execute(f"drop table if exists {schema}.grown".encode())

    def make(built: int, published: int | None) -> None:
        drop()
        for schema, rows in (("marts_build", built), ("marts", published)):
            if rows is not None:
                with acting_as(loader.connection, OWNERS[schema]):
                    loader.connection.execute(
                        f"create table {schema}.grown as select n from generate_series(1, {rows}) as n".encode()
                    )

    yield make
    drop()


def judged(results: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [result for result in results if result[0] == "marts.grown"]


@pytest.mark.parametrize(
    ("built", "published", "status", "message"),
    [
        (1260, 126, "pass", "126 rows become 1,260"),
        (1293, 126, "warn", "126 rows become 1,293, 10.3 times as many. Right after a backfill; otherwise look for"),
        (97_128, 126, "warn", "126 rows become 97,128, 770.9 times as many."),
        (99, 1, "pass", "1 rows become 99"),
        (5000, 0, "pass", "0 rows become 5,000"),
        (10, 1000, "pass", "1,000 rows become 10"),
    ],
)
def test_growth_warns_of_a_mart_that_grows_tenfold(
    evaluate, only: Only, marts: Callable[..., None], built: int, published: int, status: str, message: str
) -> None:
    marts(built, published)
    ((_, found, words),) = judged(evaluate(only(SETTINGS), DAY))
    assert found == status
    assert words.startswith(message)


def test_growth_leaves_out_a_mart_that_was_never_published(evaluate, only: Only, marts: Callable[..., None]) -> None:
    marts(5000, None)
    assert judged(evaluate(only(SETTINGS), DAY)) == []

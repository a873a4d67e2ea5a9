"""A preview's schemas are its own, and gone at the end; those of killed previews are dropped; a build goes first."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from ecommerce.change_preview.giving_way import giving_way
from ecommerce.change_preview.preview_schemas import preview_name, preview_schemas
from ecommerce.common.errors import PreviewError


def schemas(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("select nspname from pg_namespace where nspname ~ '^preview_' order by nspname")
    return [name for (name,) in rows]


def test_name_is_a_part_of_a_name_in_postgres() -> None:
    assert preview_name("Feature/Net-Revenue: der Größe nach, und mehr") == "feature_net_revenue_der"
    assert preview_name("--") == "change"


def test_schemas_are_dropped_also_after_an_error_and_when_left_over(
    previewer: psycopg.Connection, filled: Callable[[str], str]
) -> None:
    with psycopg.connect(filled("previewer"), autocommit=True) as other, preview_schemas(other, "other"):
        previewer.execute("create schema preview_killed_before_core create table half (a int)")
        with pytest.raises(ZeroDivisionError), preview_schemas(previewer, "mine") as made:  # noqa: PT012
            assert made.leftovers == ["preview_killed_before_core"]
            previewer.execute(f"create schema {made.after}core create table whole (a int)".encode())
            assert [name for name in schemas(previewer) if "mine" in name] == [
                "preview_mine_after_core",
                "preview_mine_differences",
            ]
            _ = 1 / 0
        # That of a running preview stays.
        assert schemas(previewer) == ["preview_other_differences"]
        with pytest.raises(PreviewError, match="a preview of other is running"), preview_schemas(previewer, "other"):
            pass
    assert schemas(previewer) == []


def test_preview_gives_way_to_a_session_that_waits(previewer: psycopg.Connection, filled: Callable[[str], str]) -> None:
    """A build that replaces a table waits for as long as somebody reads it."""
    seconds = []

    def replace() -> None:
        with psycopg.connect(filled("transformer")) as builder:
            begun = time.monotonic()
            builder.execute("lock table core.dim_date in access exclusive mode")
            seconds.append(time.monotonic() - begun)

    def read_until_canceled() -> None:
        try:
            previewer.execute("select pg_sleep(60)")
        except errors.QueryCanceled as error:
            raise PreviewError("dbt cannot build a: canceled") from error

    thread = threading.Thread(target=replace)
    gives_way = pytest.raises(PreviewError, match="waited for this preview, so it gave way")
    with gives_way, giving_way(previewer), previewer.transaction():
        previewer.execute("select count(*) from core.dim_date")
        thread.start()
        read_until_canceled()
    thread.join()
    assert seconds[0] < 20


def test_error_without_a_waiting_session_is_not_hidden(previewer: psycopg.Connection) -> None:
    with pytest.raises(PreviewError, match="dbt cannot build"), giving_way(previewer):
        raise PreviewError("dbt cannot build a: no such column")

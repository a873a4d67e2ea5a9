"""Write disposition `replace_window`: raw equals the source's window, and only changed days become dirty."""

from collections.abc import Callable
from itertools import permutations

import psycopg
import pytest

from ecommerce.common.sources import Column, Kind, Source, WriteDisposition
from tests.integration.support import Loader

Insert = Callable[..., None]


@pytest.fixture
def order(insert: Insert) -> Insert:
    """Insert an order into the shop; created on its own day unless said otherwise."""

    def order(order_id: str, day: str, created: str | None = None, **values: object) -> None:
        values = {"product_id": "P1", "customer_id": "C1", "order_amount": 10} | values
        insert("sales_fact", order_id=order_id, order_date=day, created_at=created or f"{day} 12:00", **values)

    return order


REPEATED = (
    "order_id, line_number came more than once; another row with this key was taken (a row without line_number has "
    "line_number 1, so give each row of one order_id its own line_number at the source)"
)


def orders(loader: Loader) -> dict[str, str]:
    return {order: str(amount) for order, amount in loader.rows("select order_id, order_amount from raw.sales_fact")}


def test_window_is_half_open_whole_days(loader: Loader, order: Insert) -> None:
    order("before", "2024-03-01", "2024-03-01 23:59:59.999999")
    order("first", "2024-03-02", "2024-03-02 00:00")
    order("last", "2024-03-03", "2024-03-03 23:59:59.999999")
    order("after", "2024-03-04", "2024-03-04 00:00")
    result = loader.load("sales_fact", "2024-03-02", "2024-03-03")
    assert set(orders(loader)) == {"first", "last"}
    assert (result.rows_read, result.rows_loaded, result.days_marked) == (2, 2, 2)
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-02"), ("sales_fact", "2024-03-03")}


def test_values_are_stored_unchanged(loader: Loader, order: Insert) -> None:
    order("O\t1\\N", "2024-03-01", "2024-03-01 12:34:56.789", order_amount="12.345", payment_method="")
    order(
        "O2", "2024-03-01", order_quantity=3, discount_applied="0.10", shipping_cost="1.5", payment_method="ä\N{SNAKE}"
    )
    loader.load("sales_fact", "2024-03-01")
    assert loader.rows(
        "select order_id, order_amount::text, order_quantity, payment_method, discount_applied::text,"
        " shipping_cost::text, created_at::text from raw.sales_fact order by order_id"
    ) == [
        ("O\t1\\N", "12.345", None, "", None, None, "2024-03-01 12:34:56.789"),
        ("O2", "10", 3, "ä\N{SNAKE}", "0.10", "1.5", "2024-03-01 12:00:00"),
    ]


def test_second_load_changes_nothing(loader: Loader, order: Insert) -> None:
    for number in range(5):
        order(f"O{number}", "2024-03-01")
    order("bad", "2024-03-01", order_amount=-1)
    loader.load("sales_fact", "2024-03-01")
    loader.pop_dirty_dates()
    before = loader.everything()
    again = loader.load("sales_fact", "2024-03-01")
    after = loader.everything()
    assert (again.rows_read, again.rows_unchanged, again.rows_loaded, again.days_marked) == (6, 6, 0, 0)
    # The rows keep the batch that wrote them.
    assert {name for name in after if after[name] != before[name]} == {"ops.load_batch"}


@pytest.mark.parametrize(
    ("change", "removed", "loaded", "marked"),
    [
        pytest.param(
            "update sales_fact set order_amount = 11 where order_id = 'O2'", 1, 1, {"2024-03-02"}, id="corrected"
        ),
        pytest.param(
            "update sales_fact set payment_method = null where order_id = 'O2'", 1, 1, {"2024-03-02"}, id="null"
        ),
        pytest.param("delete from sales_fact where order_id = 'O2'", 1, 0, {"2024-03-02"}, id="deleted"),
        pytest.param(
            "update sales_fact set order_date = '2024-01-15' where order_id = 'O2'",
            1,
            1,
            {"2024-03-02", "2024-01-15"},
            id="another day",
        ),
        pytest.param(
            "insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)"
            " values ('late', 'P', 'C', '2023-12-24', 5, '2024-03-02 08:00')",
            0,
            1,
            {"2023-12-24"},
            id="late",
        ),
        pytest.param(
            "update sales_fact set order_amount = -5 where order_id = 'O2'", 1, 0, {"2024-03-02"}, id="now bad"
        ),
    ],
)
def test_change_marks_only_its_days_dirty(
    loader: Loader, shop: psycopg.Connection, order: Insert, change: str, removed: int, loaded: int, marked: set[str]
) -> None:
    for number in (1, 2, 3):
        order(f"O{number}", f"2024-03-0{number}", payment_method="card")
    loader.load("sales_fact", "2024-03-01", "2024-03-03")
    loader.pop_dirty_dates()
    shop.execute(change.encode())
    result = loader.load("sales_fact", "2024-03-01", "2024-03-03")
    assert (result.rows_removed, result.rows_loaded) == (removed, loaded)
    assert loader.pop_dirty_dates() == {("sales_fact", day) for day in marked}
    assert (
        loader.rows("select order_id, order_amount, order_date from raw.sales_fact order by 1")
        == shop.execute(
            "select order_id, order_amount, order_date from sales_fact where order_amount > 0 order by 1"
        ).fetchall()
    )


def test_rows_outside_window_stay(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("before", "2024-03-01", "2024-03-01 23:59:59.999999")
    order("inside", "2024-03-02")
    order("after", "2024-03-03", "2024-03-03 00:00")
    loader.load("sales_fact", "2024-03-01", "2024-03-03")
    shop.execute("delete from sales_fact")
    loader.load("sales_fact", "2024-03-02")
    assert set(orders(loader)) == {"before", "after"}


def test_empty_window_removes_rows(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("O1", "2024-03-01")
    loader.load("sales_fact", "2024-03-01")
    shop.execute("delete from sales_fact")
    result = loader.load("sales_fact", "2024-03-01")
    assert (result.rows_read, result.rows_removed) == (0, 1)
    assert orders(loader) == {}


def test_order_moved_to_later_window_is_stored_once(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("O1", "2024-03-01", order_amount=10)
    loader.load("sales_fact", "2024-03-01")
    loader.pop_dirty_dates()
    shop.execute("update sales_fact set created_at = '2024-03-05 10:00', order_date = '2024-03-05', order_amount = 20")
    result = loader.load("sales_fact", "2024-03-05")
    assert (result.rows_loaded, result.rows_removed) == (1, 1)
    assert orders(loader) == {"O1": "20"}
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01"), ("sales_fact", "2024-03-05")}
    assert loader.load("sales_fact", "2024-03-01").rows_removed == 0
    assert orders(loader) == {"O1": "20"}


def test_latest_duplicate_order_in_load_wins(loader: Loader, order: Insert) -> None:
    order("O1", "2024-03-01", "2024-03-01 09:00", order_amount=3)
    order("O1", "2024-03-01", "2024-03-01 11:00", order_amount=1)
    order(" O1 ", "2024-03-01", "2024-03-01 10:00", order_amount=2)
    result = loader.load("sales_fact", "2024-03-01")
    assert (result.rows_loaded, result.rows_quarantined) == (1, 2)
    assert orders(loader) == {"O1": "1"}
    assert {
        (reason, payload["order_amount"])
        for reason, payload in loader.rows("select reason, payload from ops.quarantine")
    } == {
        (REPEATED, "2"),
        (REPEATED, "3"),
    }
    assert loader.load("sales_fact", "2024-03-01").rows_unchanged == 3


@pytest.mark.parametrize("sequence", list(permutations(["2024-03-01", "2024-03-02", "2024-03-03"])))
def test_latest_order_across_windows_wins_in_any_load_order(
    loader: Loader, order: Insert, sequence: tuple[str, ...]
) -> None:
    for day in ("01", "02", "03"):
        order("O1", f"2024-03-{day}", order_amount=int(day))
        order(f"only {day}", f"2024-03-{day}")
    for day in sequence:
        result = loader.load("sales_fact", day)
        assert result.rows_read == result.rows_loaded + result.rows_unchanged + result.rows_quarantined == 2
    assert orders(loader) == {"O1": "3", "only 01": "10", "only 02": "10", "only 03": "10"}
    held = orders(loader)
    for _ in range(2):
        # The first time an order that has been overtaken since it was loaded is put aside; then nothing is new.
        again = [loader.load("sales_fact", day) for day in sequence]
        assert orders(loader) == held
    assert [(result.rows_read, result.rows_unchanged) for result in again] == [(2, 2)] * 3


@pytest.mark.parametrize("sequence", [("01", "02"), ("02", "01")])
def test_blanks_around_order_id_are_trimmed(loader: Loader, order: Insert, sequence: tuple[str, str]) -> None:
    order("O1", "2024-03-01", order_amount=1)
    order(" O1 ", "2024-03-02", order_amount=2)
    for day in sequence:
        loader.load("sales_fact", f"2024-03-{day}")
    assert orders(loader) == {"O1": "2"}
    assert loader.load("sales_fact", "2024-03-02").rows_unchanged == 1


def test_numeric_order_id_is_loaded(loader: Loader) -> None:
    """The same rules for a source whose key is no text."""
    loader.connection.execute(
        "create table if not exists raw.voucher (voucher_id integer primary key, issued_at timestamp not null,"
        " _batch_id bigint not null, _loaded_at timestamptz not null); delete from raw.voucher"
    )
    voucher = Source(
        name="voucher",
        reader="database",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("voucher_id",),
        columns=(
            Column("voucher_id", Kind.INTEGER, required=True),
            Column("issued_at", Kind.TIMESTAMP, required=True),
        ),
        window_column="issued_at",
        latest_by="issued_at",
    )
    later, sooner = (
        {"voucher_id": number, "issued_at": f"2024-03-0{day} 10:00"} for number, day in (("007", 2), ("7", 1))
    )
    assert loader.load(voucher, "2024-03-02", rows=[later]).rows_loaded == 1
    assert loader.load(voucher, "2024-03-01", rows=[sooner]).rows_quarantined == 1
    assert loader.load(voucher, "2024-03-02", rows=[later]).rows_unchanged == 1
    assert loader.rows("select voucher_id, issued_at::text from raw.voucher") == [(7, "2024-03-02 10:00:00")]


def test_load_order_of_days_does_not_matter(loader: Loader, order: Insert, connection: psycopg.Connection) -> None:
    days = [f"2024-03-0{number}" for number in range(1, 6)]
    for number, day in enumerate(days):
        order(f"O{number}", day)
        order(f"late{number}", "2024-01-01", f"{day} 23:00")
    query = "select order_id, order_date, order_amount, created_at from raw.sales_fact order by 1"
    loader.load("sales_fact", days[0], days[-1])
    as_range, marked = loader.rows(query), loader.pop_dirty_dates()
    connection.execute("delete from raw.sales_fact")
    for day in (days[3], days[0], days[4], days[2], days[1]):
        loader.load("sales_fact", day)
    assert (loader.rows(query), loader.pop_dirty_dates()) == (as_range, marked)


@pytest.mark.parametrize("is_held", [False, True])
def test_dry_run_reports_and_leaves_no_trace(
    loader: Loader, shop: psycopg.Connection, order: Insert, is_held: bool
) -> None:
    order("O1", "2024-03-01")
    order("O2", "2024-03-02")
    order("bad", "2024-03-02", order_amount=-1)
    if is_held:
        loader.load("sales_fact", "2024-03-01", "2024-03-02")
        shop.execute("update sales_fact set order_amount = order_amount * 2")
    before = loader.everything()
    result = loader.load("sales_fact", "2024-03-01", "2024-03-02", dry_run=True)
    assert (result.rows_loaded, result.rows_quarantined, result.days_marked, result.dry_run) == (2, 1, 2, True)
    assert loader.everything() == before
    assert loader.value("select count(*) from pg_class where relpersistence = 't'") == 0
    assert loader.value("select count(*) from pg_locks where locktype = 'advisory'") == 0

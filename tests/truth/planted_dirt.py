"""Which rows of the generated shop are wrong on purpose: by what the generator did, not by the loader's rules."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from include.demo.shop.generator.dirty_rows import DAY_BEFORE_CALENDAR, rows_per_kind
from include.demo.shop.generator.effects import CANCELLED_STATUSES

FileRow = Mapping[str, str | None]


def _is(column: str, *values: str | None) -> Callable[[FileRow], bool]:
    return lambda row: row[column] in values


def _is_negative(column: str) -> Callable[[FileRow], bool]:
    return lambda row: (row[column] or "").startswith("-")


#: Source → what makes a row wrong; the rows of each kind are as many as `rows_of_each_kind` says.
MISTAKES: Mapping[str, Sequence[Callable[[FileRow], bool]]] = {
    "sales_fact": (
        _is("order_id", None),
        _is("product_id", None),
        _is("order_amount", None),
        _is_negative("order_amount"),
        _is_negative("order_quantity"),
        _is_negative("shipping_cost"),
        _is_negative("tax_amount"),
        _is("discount_applied", "1.50"),
        _is("discount_applied", "-0.10"),
        _is("line_number", "-1"),
        _is("order_date", str(DAY_BEFORE_CALENDAR)),
    ),
    "refund": (
        _is("refund_id", None),
        _is("refund_amount", None),
        _is("refund_amount", "0.00"),
        _is_negative("refund_amount"),
        _is("refund_date", str(DAY_BEFORE_CALENDAR)),
        _is("refund_quantity", "-1"),
    ),
    "kafka_stream": (
        _is("customer_id", None),
        _is("product_id", None),
        _is("interaction_type", None),
        _is("timestamp", "yesterday"),
        _is("timestamp", "2024-13-45T10:00:00"),
    ),
    "product": (_is("product_id", None),),
    "product_category": (_is("cost_price", "-5.00"),),
    "customer": (_is("customer_id", None),),
}
#: Columns that the loader must recognise as the same row, where one comes twice; the later one is right.
KEYS = {"sales_fact": ("order_id", "line_number"), "refund": ("refund_id",)}
CANCELLED = {status.lower() for status in CANCELLED_STATUSES}


def rows_of_each_kind(source: str, rows: Sequence[FileRow]) -> int:
    """How many rows of each kind of mistake the generator plants in a file."""
    if source == "sales_fact":
        # The file has two corrected lines besides those that were drawn.
        return rows_per_kind(len(rows) - 2)
    # Two events of nine kinds for each 20,000.
    return 1


def is_mistake(source: str, row: FileRow) -> bool:
    return any(is_wrong(row) for is_wrong in MISTAKES.get(source, ()))


def is_cancelled(row: FileRow) -> bool:
    return (row["order_status"] or "").strip().lower() in CANCELLED


def good_rows(source: str, rows: Sequence[FileRow]) -> list[FileRow]:
    """The rows without a mistake; of two with the same key, the later one."""
    good = [row for row in rows if not is_mistake(source, row)]
    return list({key_of(source, row): row for row in good}.values()) if source in KEYS else good


def planted(source: str, rows: Sequence[FileRow]) -> Counter[tuple[str | None, ...]]:
    """All rows that must be in quarantine: those with a mistake, and those that a later row of their key replaces."""
    good = Counter(map(values_of, good_rows(source, rows)))
    return Counter(map(values_of, rows)) - good


def key_of(source: str, row: FileRow) -> tuple[str | None, ...]:
    # A line without a number is line 1.
    return tuple(row[name] or ("1" if name == "line_number" else None) for name in KEYS[source])


def values_of(row: FileRow) -> tuple[str | None, ...]:
    """A row by its texts, without times, whose notation changes on the way."""
    return tuple(value for name, value in sorted(row.items()) if name != "created_at")

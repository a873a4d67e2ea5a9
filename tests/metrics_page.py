"""docs/metrics.md as data: its marts with their columns, queries and examples, and the shop of the examples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
EXAMPLE_SHOP = "The example shop"

_SERIES = re.compile(r"(\S+) … (\S+), every (?:(\d+) days|day)")
_CALCULATION = re.compile(r"`([-+*/(). 0-9]+) = (-?[0-9.]+)`")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Table:
    """A table of the page; an empty cell is null."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]

    @property
    def records(self) -> list[dict[str, str | None]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A heading of the page and what is below it."""

    name: str
    text: str

    @property
    def tables(self) -> list[Table]:
        return list(_tables(self.text))

    @property
    def described_columns(self) -> list[str]:
        """The columns of the mart that the section's first table describes."""
        return [name for row in self.tables[0].rows for name in re.findall(r"`(\w+)`", row[0] or "")]

    @property
    def examples(self) -> list[Table]:
        """The tables after the word *Example*."""
        return list(_tables(self.text.partition("**Example.**")[2]))

    @property
    def queries(self) -> list[str]:
        """The queries that give the mart's rows, without the views that they read."""
        return [query for query in sql_blocks(self.text) if not query.startswith("create")]


@cache
def sections() -> dict[str, Section]:
    """The page's sections by their headings."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: Section(name, text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def views() -> list[str]:
    """The views that the queries read, in the order in which they are made."""
    return [query for query in sql_blocks(PAGE.read_text(encoding="utf-8")) if query.startswith("create")]


def calculations() -> list[tuple[str, str]]:
    """What the page calculates: the left side and the result."""
    return _CALCULATION.findall(PAGE.read_text(encoding="utf-8"))


def evaluate(calculation: str) -> Decimal:
    """The value of a calculation with + - * / and brackets."""
    # The pattern of `calculations` lets nothing else through than numbers, operators and brackets.
    return eval(_NUMBER.sub(lambda number: f'Decimal("{number[0]}")', calculation), {"Decimal": Decimal})


def example_rows(source: str) -> list[dict[str, str | None]]:
    """The rows of one source of the example shop, with its series written out."""
    (title,) = re.findall(rf"^### .*\(`{source}`\)$", sections()[EXAMPLE_SHOP].text, flags=re.MULTILINE)
    table = next(_tables(sections()[EXAMPLE_SHOP].text.partition(title)[2]))
    rows = [row for record in table.records for row in _written_out(record)]
    if source == "weather_data":
        return list({(row["city"], row["date"]): row for row in rows}.values())
    return rows


def sql_blocks(text: str) -> list[str]:
    return [block.strip() for block in re.findall(r"^```sql\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]


def _tables(text: str) -> Iterator[Table]:
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        yield Table(tuple(head), tuple(tuple(cell or None for cell in row) for row in body))


def _written_out(record: dict[str, str | None]) -> Iterator[dict[str, str | None]]:
    for column, value in record.items():
        if series := _SERIES.fullmatch(value or ""):
            day, last = date.fromisoformat(series[1]), date.fromisoformat(series[2])
            while day <= last:
                own_id = {"order_id": f"{record['order_id']}{day:%Y%m%d}"} if "order_id" in record else {}
                yield {**record, **own_id, column: str(day)}
                day += timedelta(days=int(series[3] or 1))
            return
    yield record

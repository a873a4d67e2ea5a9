"""
A table on a page of its own, sorted, searched, narrowed and paged by Postgres; and the CSV file of exactly that.

Every table of the pages is a `PageTable`: of a figure, of the way to the facts, of a customer, of operations. Names of
columns come from its definition, never from an address: an address with another is an error. What is searched for, and
the values to which a table is narrowed, are bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request

from ecommerce.common.shop import shop
from shop_pages.figures import Figure, FigureColumn, FigurePage, PageTable
from shop_pages.formats import Format
from shop_pages.limits import LAST_TABLE_PAGE, PAGE_ROWS, SORTED_ROWS
from shop_pages.pages.shared import ALL_CATEGORIES, ONLY, list_path
from shop_pages.pool import Row
from shop_pages.words import TABLES

#: How days, times and numbers can be searched for, as the page shows them; 2024-06-28 and 1234.5 find them, too.
_AMOUNT = "FM999,999,999,999,990.00"
_DAYS_SHOWN = {Format.DAY: "FMDD Mon YYYY", Format.MONTH: "Mon YYYY"}
_SHOWN = _DAYS_SHOWN | {Format.MONEY: _AMOUNT, Format.PERCENT: _AMOUNT, Format.COUNT: "FM999,999,999,999,990"}
#: Formats whose first order is from large to small, or from new to old.
_TIMES = frozenset({*_DAYS_SHOWN, Format.TIMESTAMP})


@dataclass(frozen=True)
class TableChoice:
    """
    What a reader has chosen of a table.

    :param sort: a column of the table; empty for the table's own order
    :param search: a text that a row has in one of its columns, in any case; empty for all rows
    :param only: column → the value that it has; empty for none
    """

    sort: str = ""
    is_descending: bool = False
    search: str = ""
    page: int = 1
    only: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether all rows are shown, in the figure's own order."""
        return not (self.sort or self.search or self.only)

    @property
    def address(self) -> dict[str, str]:
        """As an address has it, without the page."""
        chosen = {f"{ONLY}{name}": value for name, value in self.only.items()}
        if self.search:
            chosen["search"] = self.search
        if self.sort:
            chosen |= {"sort": self.sort, "order": "desc" if self.is_descending else "asc"}
        return chosen

    def without(self, column: str) -> TableChoice:
        """The same table, no longer narrowed to a value of this column."""
        return replace(self, page=1, only={name: value for name, value in self.only.items() if name != column})

    def sorted_by(self, column: FigureColumn) -> TableChoice:
        """The table by this column: numbers and days from large to small first, and the other way the next time."""
        if self.sort == column.name:
            return replace(self, page=1, is_descending=not self.is_descending)
        return replace(self, page=1, sort=column.name, is_descending=column.is_numeric or column.format in _TIMES)


#: Adds to rows what Postgres does not know of them, for the columns that are not queried.
Completion = Callable[[Request, list[Row]], Awaitable[list[Row]]]


@dataclass(frozen=True, kw_only=True)
class PlacedTable:
    """
    A table at its place below a page: what its query is asked for, and the addresses that lead to it.

    :param path: below the pages' own; the whole table is at `path/table`, and its file at `path.csv`
    :param crumbs: label and path of each page above it
    :param address: what of an address chooses its rows, beside the reader's `TableChoice`
    :param parameters: the values of the query's own parameters
    :param page: the page of the menu that it belongs to; empty for none
    :param lead: the line below its title
    :param tags: what its rows are limited to, in words
    :param definition: the path of the page that defines its figures; empty for none
    :param whole_path: where the whole table is, if that is not `path/table`
    :param complete: adds what Postgres does not know of the rows that are shown
    :param inputs: name in the address → label, of what a reader can enter beside the search
    :param most: a table with more rows is not sorted and searched while a page waits; None: any is
    :param is_now: what a person has just written is among its rows
    :param has_index: its own order is that of an index, so that a table of any length is paged in it
    """

    table: PageTable
    path: str
    crumbs: Sequence[tuple[str, str]] = ()
    address: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""
    lead: str = ""
    tags: Sequence[str] = ()
    definition: str = ""
    whole_path: str = ""
    complete: Completion | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    most: int | None = SORTED_ROWS
    has_index: bool = False
    is_now: bool = False

    def path_of(self, choice: TableChoice, page: int = 1) -> str:
        """The path of the whole table as it is chosen."""
        query = {**self.address, **choice.address, **({"page": str(page)} if page > 1 else {})}
        path = self.whole_path or f"{self.path}/table"
        return f"{path}?{urlencode(query)}" if query else path

    def csv_path(self, choice: TableChoice) -> str:
        """The path of the file of exactly that."""
        return f"{self.path}.csv?{urlencode({**self.address, **choice.address})}"

    def sort_links(self, choice: TableChoice) -> Callable[[FigureColumn], tuple[str, str]]:
        """Column → the path of the table that is sorted by it, and how it is sorted now: `ascending`, `none` …"""

        def link(column: FigureColumn) -> tuple[str, str]:
            if not column.is_queried:
                return "", "none"
            now = "none" if choice.sort != column.name else "descending" if choice.is_descending else "ascending"
            return self.path_of(choice.sorted_by(column)), now

        return link

    def values(self, choice: TableChoice, query: str) -> dict[str, Any]:
        """All parameters that a query of its rows has."""
        return {**self.parameters, **parameters_of(choice, query)}


def choice_of(table: PageTable, request: Request) -> TableChoice:
    """
    What an address chooses.

    :raises HTTPException: 400, a column that the table does not have, or no number of a page
    """
    chosen = request.query_params
    columns = {column.name for column in table.queried_columns}
    only = {name.removeprefix(ONLY): value for name, value in chosen.items() if name.startswith(ONLY)}
    for name in (*only, *filter(None, [chosen.get("sort")])):
        if name not in columns:
            raise HTTPException(400, f"{table.title} has no column {name[:100]!r}.")
    page = chosen.get("page") or "1"
    if not (page.isascii() and page.isdigit() and len(page) <= 9 and 1 <= int(page) <= LAST_TABLE_PAGE):
        raise HTTPException(400, f"A page has a number from 1 to {LAST_TABLE_PAGE:,}, not {page[:100]!r}.")
    return TableChoice(
        chosen.get("sort", ""), chosen.get("order") == "desc", chosen.get("search", "").strip(), int(page), only
    )


def chosen_rows(table: PageTable, choice: TableChoice, columns: str = "") -> str:
    """The query for all rows that are chosen, with the columns of the CSV file, or with these."""
    conditions = [
        f"{_name(name)}::text = %(only_{n})s" if value else f"{_name(name)} is null"
        for n, (name, value) in enumerate(choice.only.items())
    ]
    if choice.search:
        texts = ", ".join(_searched(column) for column in table.queried_columns)
        conditions.append(f"strpos(lower(concat_ws(' ', {texts})), lower(%(search)s)) > 0")
    where = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    columns = columns or ", ".join(_name(column.name) for column in table.queried_columns)
    return f"select {columns} from (\n{table.query}\n) as result{where}\norder by {_order(table, choice)}"


def page_of_rows(table: PageTable, choice: TableChoice) -> str:
    """The query for the rows of the chosen page, and for one more if there is another page."""
    # All columns: links and the way to the facts need some that the table does not show.
    return f"{chosen_rows(table, choice, 'result.*')}\nlimit {PAGE_ROWS + 1} offset %(page_offset)s"


def parameters_of(choice: TableChoice, query: str) -> dict[str, Any]:
    """The parameters of the table's own that a query has."""
    values: dict[str, Any] = {f"only_{n}": value for n, value in enumerate(choice.only.values())}
    values |= {"search": choice.search, "page_offset": (choice.page - 1) * PAGE_ROWS, "zone": shop().time_zone}
    return {name: value for name, value in values.items() if f"%({name})s" in query}


def describe_order(table: PageTable, choice: TableChoice) -> str:
    """`by revenue`, as the table has it, or `by Revenue, the largest first`."""
    column = next((column for column in table.columns if column.name == choice.sort), None)
    if column is None:
        return table.sorted_by or "in their order"
    if column.is_numeric:
        return f"by {column.label}, the {'largest' if choice.is_descending else 'smallest'} first"
    if column.format in _TIMES:
        return f"by {column.label}, the {'newest' if choice.is_descending else 'oldest'} first"
    return f"by {column.label}, {'Z to A' if choice.is_descending else 'A to Z'}"


#: Columns whose values are names of groups: each opens the rows of its group.
_GROUPS = frozenset(
    {
        "customer_tier", "rfm_segment", "inventory_status", "product_status", "review_priority", "abc_class",
        "supplier_id", "brand", "payment_method", "plan_type", "subscription_status", "season", "performance_category",
        "rule", "city", "temperature_category", "precipitation_category", "factor", "discount_band", "shipping_band",
    }
)  # fmt: skip


def links_of(page: FigurePage, figure: Figure) -> dict[str, Callable[[Row], str]]:
    """Column → the path of what its value stands for: the figure's own links, and the list of each group's rows."""
    links: dict[str, Callable[[Row], str]] = {}
    for column in figure.columns:
        if column.name in _GROUPS:
            links[column.name] = _group_link(page.name, figure.name, column.name)
        elif column.name == "category_name" and page.takes("category"):
            links[column.name] = _category_link(page.name)
    return links | dict(figure.links)


def _group_link(page: str, figure: str, column: str) -> Callable[[Row], str]:
    return lambda row: list_path(page, figure, {column: row[column]})


def _category_link(page: str) -> Callable[[Row], str]:
    def path(row: Row) -> str:
        category = row["category_name"]
        return f"/{page}?{urlencode({'category': '' if category == ALL_CATEGORIES else category})}"

    return path


def _name(column: str) -> str:
    """The name of a column in SQL. Those of raw are the source's: they may have any character."""
    if column.isidentifier() and column.islower():
        return f"result.{column}"
    quoted = column.replace('"', '""').replace("%", "%%")
    return f'result."{quoted}"'


def _searched(column: FigureColumn) -> str:
    name = _name(column.name)
    if column.format is Format.TIMESTAMP:
        return f"{name}, to_char({name} at time zone %(zone)s, 'YYYY-MM-DD HH24:MI')"
    if column.format is Format.NAME:
        words = " ".join(f"when '{table}' then '{text}'" for table, text in TABLES.items())
        return f"{name}, replace({name}, '_', ' '), case {name} {words} end"
    if column.format is Format.BOOLEAN:
        return f"case when {name} then 'yes' when not {name} then 'no' end"
    return f"{name}, to_char({name}, '{_SHOWN[column.format]}')" if column.format in _SHOWN else name


def _order(table: PageTable, choice: TableChoice) -> str:
    own = table.order_by or "1"
    if not choice.sort:
        return own
    # The table's order after it: pages of equal values would otherwise overlap.
    return f"{_name(choice.sort)} {'desc' if choice.is_descending else 'asc'} nulls last, {own}"

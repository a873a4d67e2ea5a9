"""
The table of a figure on a page of its own, sorted, searched, narrowed and paged by Postgres; and the CSV file of
exactly that.

Names of columns come from the figure's definition, never from an address: an address with another is an error. What is
searched for, and the values to which a table is narrowed, are bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request

from shop_pages.figures import Figure, FigureColumn, FigurePage
from shop_pages.formats import Format
from shop_pages.limits import LAST_TABLE_PAGE, PAGE_ROWS
from shop_pages.pages.shared import ALL_CATEGORIES, ONLY, list_path
from shop_pages.pool import Row

#: How days, months and numbers can be searched for, as the page shows them; 2024-06-28 and 1234.5 find them, too.
_AMOUNT = "FM999,999,999,999,990.00"
_DAYS_SHOWN = {Format.DAY: "FMDD Mon YYYY", Format.MONTH: "Mon YYYY"}
_SHOWN = _DAYS_SHOWN | {Format.MONEY: _AMOUNT, Format.PERCENT: _AMOUNT, Format.COUNT: "FM999,999,999,999,990"}


@dataclass(frozen=True)
class TableChoice:
    """
    What a reader has chosen of a table.

    :param sort: a column of the figure; empty for the figure's own order
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
        return replace(self, page=1, sort=column.name, is_descending=column.is_numeric or column.format in _DAYS_SHOWN)


def choice_of(figure: Figure, request: Request) -> TableChoice:
    """
    What an address chooses.

    :raises HTTPException: 400, a column that the figure does not have, or no number of a page
    """
    chosen = request.query_params
    columns = {column.name for column in figure.columns}
    only = {name.removeprefix(ONLY): value for name, value in chosen.items() if name.startswith(ONLY)}
    for name in (*only, *filter(None, [chosen.get("sort")])):
        if name not in columns:
            raise HTTPException(400, f"{figure.title} has no column {name[:100]!r}.")
    page = chosen.get("page") or "1"
    if not (page.isascii() and page.isdigit() and len(page) <= 9 and 1 <= int(page) <= LAST_TABLE_PAGE):
        raise HTTPException(400, f"A page has a number from 1 to {LAST_TABLE_PAGE:,}, not {page[:100]!r}.")
    return TableChoice(
        chosen.get("sort", ""), chosen.get("order") == "desc", chosen.get("search", "").strip(), int(page), only
    )


def chosen_rows(figure: Figure, choice: TableChoice, columns: str = "") -> str:
    """The query for all rows that are chosen, with the columns of the CSV file, or with these."""
    conditions = [
        f"result.{name}::text = %(only_{name})s" if value else f"result.{name} is null"
        for name, value in choice.only.items()
    ]
    if choice.search:
        texts = ", ".join(_searched(column) for column in figure.columns)
        conditions.append(f"strpos(lower(concat_ws(' ', {texts})), lower(%(search)s)) > 0")
    where = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    columns = columns or ", ".join(f"result.{column.name}" for column in figure.columns)
    return f"select {columns} from (\n{figure.query}\n) as result{where}\norder by {_order(figure, choice)}"


def page_of_rows(figure: Figure, choice: TableChoice) -> str:
    """The query for the rows of the chosen page, and for one more if there is another page."""
    # All columns: links and the way to the facts need some that the table does not show.
    return f"{chosen_rows(figure, choice, 'result.*')}\nlimit {PAGE_ROWS + 1} offset %(page_offset)s"


def parameters_of(choice: TableChoice, query: str) -> dict[str, Any]:
    """The parameters of the table's own that a query has."""
    values: dict[str, Any] = {f"only_{name}": value for name, value in choice.only.items()}
    values |= {"search": choice.search, "page_offset": (choice.page - 1) * PAGE_ROWS}
    return {name: value for name, value in values.items() if f"%({name})s" in query}


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


def _searched(column: FigureColumn) -> str:
    name = f"result.{column.name}"
    return f"{name}, to_char({name}, '{_SHOWN[column.format]}')" if column.format in _SHOWN else name


def _order(figure: Figure, choice: TableChoice) -> str:
    own = figure.order_by or "1"
    if not choice.sort:
        return own
    # The figure's order after it: pages of equal values would otherwise overlap.
    return f"result.{choice.sort} {'desc' if choice.is_descending else 'asc'} nulls last, {own}"

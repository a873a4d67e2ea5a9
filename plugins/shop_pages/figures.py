"""A figure: a question of the shop, the query that answers it, its chart, its table, and the link behind each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from shop_pages.formats import NUMERIC_FORMATS, Format
from shop_pages.limits import PAGE_ROWS, ROW_CAP
from shop_pages.pool import Row

#: A Plotly chart: `data` and `layout`. Colours come from the theme.
Plot = dict[str, Any]

#: The column of a chart's query with the number of rows of the table.
TABLE_ROWS = "table_rows"


@dataclass(frozen=True)
class FigureColumn:
    """
    A column of a figure's table: its name in the query, its heading, and its format.

    :param source: the source without which it says nothing: the table of a shop that does not have it leaves it out
    :param help: what its word means; shown with the figure's own help, if the column is
    """

    name: str
    label: str
    format: Format = Format.TEXT
    source: str | None = None
    help: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether its values are aligned to the right."""
        return self.format in NUMERIC_FORMATS


@dataclass(frozen=True, kw_only=True)
class Figure:
    """
    One chart with its table.

    :param name: in addresses
    :param question: the question it answers, for someone who runs a shop
    :param help: what its words mean, in a sentence or two
    :param mart: the mart it is drawn from
    :param source: the source that it is about, if that is not the one of its mart
    :param query: executed as `reader`. Its parameters are the filters `%(first)s`, `%(last)s` (inclusive) and
        `%(category)s`, and `%(row_cap)s`, the most rows that are read
    :param chart_query: for a chart that is not drawn from the rows of the table. The page then reads only the rows that
        its table shows; this query returns their total number in the column `table_rows`
    :param draw: builds the chart from the rows; None for a figure that is a table only
    :param summarize: the totals of all rows in a line of text; None or an empty text for none
    :param keys: key column of the mart → column of the query that holds its value; each row links to its facts by these
    """

    name: str
    title: str
    question: str
    mart: str
    query: str
    columns: Sequence[FigureColumn]
    chart_query: str | None = None
    help: str = ""
    source: str | None = None
    draw: Callable[[list[Row]], Plot] | None = None
    summarize: Callable[[list[Row]], str] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def page_rows(self) -> int:
        """Rows that the page reads for the table."""
        return ROW_CAP if self.chart_query is None else PAGE_ROWS

    @property
    def takes_days(self) -> bool:
        """Whether the page's range of days applies."""
        return "%(first)s" in self.query or "%(last)s" in self.query

    @property
    def takes_category(self) -> bool:
        """Whether the page's category applies."""
        return "%(category)s" in self.query

    def drill_path(self, row: Row) -> str | None:
        """The path of the page with the mart's row and the facts behind it, below the pages' own."""
        return drill_path(self.mart, {key: row[column] for key, column in self.keys.items()}) if self.keys else None


@dataclass(frozen=True, kw_only=True)
class FigurePage:
    """A page of figures."""

    name: str
    title: str
    lead: str
    figures: Sequence[Figure]
    #: Length of the default range in days; None: all days.
    days: int | None = 90

    @property
    def takes_category(self) -> bool:
        """Whether any of its figures has the category as a filter."""
        return any(figure.takes_category for figure in self.figures)

    def figure(self, name: str) -> Figure | None:
        """The figure with this name, or None."""
        return next((figure for figure in self.figures if figure.name == name), None)


def drill_path(mart: str, keys: Mapping[str, Any]) -> str:
    """The path of the page about one row of a mart; a null key is left out."""
    known = {key: json_value(value) for key, value in keys.items() if value is not None}
    return f"/rows/{mart}?{urlencode(known)}"


def json_value(value: Any) -> Any:
    """A value for JSON and addresses: decimals as floats, days as 2024-06-28."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, (date, datetime)) else value

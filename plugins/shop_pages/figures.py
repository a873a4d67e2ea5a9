"""A figure: a question of the shop, the query that answers it, its chart, its table, and the link behind each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from shop_pages.formats import NUMERIC_FORMATS, Format
from shop_pages.pool import Row

#: A Plotly chart: `data` and `layout`. Where the points of its only trace lead to pages, it has `links` as well: the
#: address of each point, relative to the page, or None. Colours come from the theme.
Plot = dict[str, Any]


@dataclass(frozen=True)
class FigureColumn:
    """
    A column of a figure's table: its name in the query, its heading, and its format.

    :param source: the source without which it says nothing: the table of a shop that does not have it leaves it out
    :param help: what its word means; shown with the figure's own help, if the column is
    :param cell: the macro of `cells.html` that writes it, if its value alone is not what is shown
    :param is_long: its texts take several lines
    :param is_queried: the query has it. One that is not is added to the rows that are shown, since Postgres does not
        know it: it is neither sorted nor searched, and no column of the CSV file
    """

    name: str
    label: str
    format: Format = Format.TEXT
    source: str | None = None
    help: str = ""
    cell: str = ""
    is_long: bool = False
    is_queried: bool = True

    @property
    def is_numeric(self) -> bool:
        """Whether its values are aligned to the right."""
        return self.format in NUMERIC_FORMATS


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """
    A table of a page: what sorts, searches and pages it needs no more than this (`tables.py`).

    :param name: in addresses
    :param query: all its rows
    :param order_by: SQL: the order of the rows, in which no two are equal
    :param sorted_by: the same in words: "by revenue"
    :param links: column → the path, below the pages' own, that its value links to
    """

    name: str
    title: str
    columns: Sequence[FigureColumn]
    query: str
    order_by: str = ""
    sorted_by: str = ""
    links: Mapping[str, Callable[[Row], str]] = field(default_factory=dict)

    @property
    def queried_columns(self) -> list[FigureColumn]:
        """The columns that the query has: those that are sorted and searched, and those of the CSV file."""
        return [column for column in self.columns if column.is_queried]

    @property
    def ordered_query(self) -> str:
        """All rows in the table's own order, with all that the query has."""
        return self.ordered("*")

    def ordered(self, columns: str) -> str:
        """All rows in the table's own order, with these columns."""
        order = f"\norder by {self.order_by}" if self.order_by else ""
        return f"select {columns} from (\n{self.query}\n) as result{order}"


@dataclass(frozen=True, kw_only=True)
class Figure(PageTable):
    """
    One chart with its table.

    No row is left out in silence: the table says which rows of how many it shows, the CSV file has all, and the chart
    is drawn from rows that Postgres has added up (`chart_queries`), with a line below it that says how.

    :param question: the question it answers, for someone who runs a shop
    :param help: what its words mean, in a sentence or two
    :param mart: the mart it is drawn from
    :param source: the source that it is about, if that is not the one of its mart
    :param query: executed as `reader`. Its parameters are those of `Filters`
    :param first_rows_query: a faster query for the first `%(page_rows)s` rows of that order, for a table of many rows
    :param draws_first_rows: the chart is a ranking in the order of the table, drawn from the rows that the table shows.
        `first_rows_query` then has `ranked_count`, the number of all rows, and may have `rest`, as `ranking` has
    :param chart_query: the rows that the chart is drawn from; None: those of `query`, if they are few in every shop
    :param summary_query: one row of totals over all rows of `query`
    :param unit: the unit of time of a row of the table, if that is not the month or the day of its first column
    :param series: what the chart draws one of for each name, in the plural: "categories"
    :param draw: builds the chart from the rows; None for a figure that is a table only
    :param measure: what the chart measures, the title of that axis: "Revenue"
    :param measured_in: money and percentages say so on that axis
    :param names: the title of the axis of names, such as "Category"; empty for time, whose title is its unit
    :param lines: of a heatmap, the title of the vertical axis
    :param names_query: all names that its series can have, in the column `name`, each before those that came later: the
        colour of a name does not depend on which of them are drawn
    :param when_empty: a sentence that says why it has no rows; empty: there are none in the page's range of days
    :param summarize: the row of totals as a line of text; an empty text for none
    :param keys: key column of the mart → column of the query that holds its value; each row links to its facts by these
    """

    question: str
    mart: str
    first_rows_query: str | None = None
    draws_first_rows: bool = False
    chart_query: str | None = None
    summary_query: str | None = None
    unit: str = ""
    series: str = "rows"
    help: str = ""
    when_empty: str = ""
    source: str | None = None
    draw: Callable[[list[Row]], Plot] | None = None
    measure: str = ""
    measured_in: Format = Format.COUNT
    names: str = ""
    lines: str = ""
    names_query: str | None = None
    summarize: Callable[[Row], str] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def table_query(self) -> str:
        """The rows of the table in their order; a page shows the first of them."""
        return self.first_rows_query or self.ordered_query

    @property
    def download_query(self) -> str:
        """All rows, with the columns of the CSV file."""
        return self.ordered(", ".join(column.name for column in self.columns))

    @property
    def row_unit(self) -> str:
        """The unit of time of a row of the table, such as `month`."""
        return self.unit or ("month" if self.columns[0].format is Format.MONTH else "day")

    def takes(self, parameter: str) -> bool:
        """Whether a filter of the page applies, such as `category`."""
        return f"%({parameter})s" in self.query

    @property
    def takes_days(self) -> bool:
        """Whether the page's range of days applies."""
        return self.takes("first") or self.takes("last")

    def drill_path(self, row: Row) -> str | None:
        """The path of the page with the mart's row and the facts behind it, below the pages' own."""
        return drill_path(self.mart, {key: row[column] for key, column in self.keys.items()}) if self.keys else None


@dataclass(frozen=True, kw_only=True)
class Totals:
    """
    The totals at the top of a page, of a mart with a row for each day, or several.

    :param mart: the mart
    :param day: its column with the day
    :param measures: each with the SQL of its sum over days; orders and customers of days do not add up
    :param only: the condition of the rows that count, for a mart with many others
    :param are_of_months: the mart has a row for each month, and the totals are those of a range's last month
    :param note: what they leave out, in a sentence
    """

    mart: str
    day: str
    measures: Mapping[FigureColumn, str]
    only: str = "true"
    are_of_months: bool = False
    note: str = ""

    @property
    def query(self) -> str:
        """A row for each range of days in `%(ranges)s`, a JSON array of `name`, `first` and `last`."""
        sums = ", ".join(f"{aggregate} as {measure.name}" for measure, aggregate in self.measures.items())
        is_in_range = "between ranges.first and ranges.last"
        if self.are_of_months:
            is_in_range = "= date_trunc('month', ranges.last::timestamp)::date"
        return f"""
            select ranges.name, {sums}
            from jsonb_to_recordset(%(ranges)s::jsonb) as ranges (name text, first date, last date)
            left join marts.{self.mart} on {self.mart}.{self.day} {is_in_range} and {self.only}
            group by ranges.name"""


@dataclass(frozen=True, kw_only=True)
class FigurePage:
    """A page of figures."""

    name: str
    title: str
    lead: str
    figures: Sequence[Figure]
    #: Length of the default range in days; None: all days.
    days: int | None = 90
    #: What stands at the top, of all categories, products and segments.
    totals: Totals | None = None
    #: What is wrong with a file of the shop that the page shows; empty if nothing is.
    notice: Callable[[], str] = str

    def takes(self, parameter: str) -> bool:
        """Whether any of its figures has this filter, such as `category`."""
        return any(figure.takes(parameter) for figure in self.figures)

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

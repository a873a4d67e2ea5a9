"""A figure of a page: a question, the query that answers it, how it is drawn, and where its rows lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from shop_pages.formats import FIGURES, Kind
from shop_pages.limits import PAGE_ROWS, ROW_CAP
from shop_pages.queries import Row

#: Plotly's figure: `data` and `layout`, without colours, which are the theme's.
Plot = dict[str, Any]

#: The column of a chart's query that says how many rows the table has.
TABLE_ROWS = "table_rows"


@dataclass(frozen=True)
class Column:
    """A column of a figure's table: its name in the query, its heading, and what it holds."""

    name: str
    label: str
    kind: Kind = Kind.TEXT

    @property
    def is_figure(self) -> bool:
        """Written to the right."""
        return self.kind in FIGURES


@dataclass(frozen=True, kw_only=True)
class Figure:
    """
    One chart with its table.

    :param name: in addresses
    :param question: what it answers, for someone who runs a shop
    :param mart: the mart it is drawn from
    :param query: as `reader`; `%(first)s`, `%(last)s` (inclusive) and `%(category)s` are the filters, `%(row_cap)s`
        is how many rows are read at most
    :param chart: the query of a chart that is not drawn of the table's rows: the page then reads no more of those than
        it shows, and this query says in its column `table_rows` how many there are
    :param draw: rows → the chart; None where the table says it all
    :param keys: column of the mart's key → column of the query that holds it; a row leads to its own rows by these
    """

    name: str
    title: str
    question: str
    mart: str
    query: str
    columns: Sequence[Column]
    chart: str | None = None
    draw: Callable[[list[Row]], Plot] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def page_rows(self) -> int:
        """Rows that a page reads."""
        return ROW_CAP if self.chart is None else PAGE_ROWS

    @property
    def takes_days(self) -> bool:
        """Whether the page's range of days applies."""
        return "%(first)s" in self.query or "%(last)s" in self.query

    @property
    def takes_category(self) -> bool:
        """Whether the page's category applies."""
        return "%(category)s" in self.query

    def link(self, row: Row) -> str | None:
        """Where a row leads, below the pages' own address: the row of the mart, and the facts behind it."""
        return way_to(self.mart, {key: row[column] for key, column in self.keys.items()}) if self.keys else None


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of figures."""

    name: str
    title: str
    lead: str
    figures: Sequence[Figure]
    #: Days of the range when nobody has chosen one; None: everything there is.
    days: int | None = 90

    @property
    def takes_category(self) -> bool:
        """Whether any figure can be narrowed to a category."""
        return any(figure.takes_category for figure in self.figures)

    def figure(self, name: str) -> Figure | None:
        """The figure of that name."""
        return next((figure for figure in self.figures if figure.name == name), None)


def way_to(mart: str, keys: Mapping[str, Any]) -> str:
    """The address of a row's own rows; a null key is left out of it."""
    known = {key: plain(value) for key, value in keys.items() if value is not None}
    return f"/rows/{mart}?{urlencode(known)}"


def plain(value: Any) -> Any:
    """A value as JSON and addresses have it: numbers as numbers, days as 2024-06-28."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def _placed(value: Any) -> Any:
    """A value that decides where something is drawn: Plotly draws nothing where there is none."""
    return "(none)" if value is None else plain(value)


def column_of(rows: list[Row], name: str) -> list[Any]:
    """One column of the rows, for a chart."""
    return [plain(row[name]) for row in rows]


def lines(rows: list[Row], x: str, series: Mapping[str, str], **layout: Any) -> Plot:
    """One line a column."""
    return {
        "data": [
            {"type": "scatter", "mode": "lines", "name": label, "x": column_of(rows, x), "y": column_of(rows, name)}
            for name, label in series.items()
        ],
        "layout": layout,
    }


def split(rows: list[Row], by: str, *, x: str, y: str, kind: str = "bar", **layout: Any) -> Plot:
    """One series for each value of a column, the greatest in total first; bars are stacked."""
    totals: dict[Any, float] = {}
    for row in rows:
        totals[row[by]] = totals.get(row[by], 0.0) + float(row[y] or 0)
    shapes: dict[str, Any] = {"type": "bar"} if kind == "bar" else {"type": "scatter", "mode": "lines"}
    return {
        "data": [
            {
                **shapes,
                "name": str(_placed(value)),
                "x": [_placed(row[x]) for row in rows if row[by] == value],
                "y": [plain(row[y]) for row in rows if row[by] == value],
            }
            for value in sorted(totals, key=lambda value: -totals[value])
        ],
        "layout": {**({"barmode": "stack"} if kind == "bar" else {}), **layout},
    }


def ranked(rows: list[Row], *, label: str, y: str, **layout: Any) -> Plot:
    """Horizontal bars, the first row on top."""
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": column_of(rows, y),
                "y": ["(none)" if row[label] is None else str(row[label]) for row in rows],
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}, "showlegend": False, **layout},
    }


def heat(rows: list[Row], *, x: str, y: str, z: str, unit: str = "", diverges_at: float | None = None) -> Plot:
    """A field of cells; where a cell has no row it stays empty."""
    across = sorted({row[x] for row in rows}, key=lambda value: (value is None, value))
    down = sorted({row[y] for row in rows}, key=lambda value: (value is None, value))
    cells = {(row[x], row[y]): plain(row[z]) for row in rows}
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [_placed(value) for value in across],
        "y": [_placed(value) for value in down],
        "z": [[cells.get((a, d)) for a in across] for d in down],
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y} · %{x}<br><b>%{z:,.1f}" + unit + "</b><extra></extra>",
    }
    if diverges_at is not None:
        trace["zmid"] = diverges_at
    return {"data": [trace], "layout": {"yaxis": {"autorange": "reversed", "type": "category"}}}

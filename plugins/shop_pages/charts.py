"""Charts from rows: each function returns the `data` and `layout` of a Plotly chart, or the line of text below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from shop_pages.figures import Plot, json_value
from shop_pages.formats import Format, day, format_value
from shop_pages.limits import CHART_SERIES, RANKED_BARS
from shop_pages.pool import Row

#: Where a line, a bar or a cell of a period that is not complete differs from the others.
_OPEN_POINT, _HATCHED, _OPEN_CELL = "circle-open", "/", "○"


def _axis_value(value: Any) -> Any:
    """A value of an axis: Plotly draws nothing for a null."""
    return "(none)" if value is None else json_value(value)


def column_values(rows: list[Row], name: str) -> list[Any]:
    """The values of one column."""
    return [json_value(row[name]) for row in rows]


def bars(rows: list[Row], x: str, y: str, name: str, **more: Any) -> dict[str, Any]:
    """A series of bars; those of periods that are not complete are hatched."""
    return {
        "type": "bar",
        "name": name,
        "x": [_axis_value(row[x]) for row in rows],
        "y": column_values(rows, y),
        **_hatched(rows),
        **more,
    }


def _hatched(rows: list[Row]) -> dict[str, Any]:
    """How bars of periods that are not complete look; nothing if all are complete."""
    if all(map(_is_complete, rows)):
        return {}
    return {"marker": {"pattern": {"shape": ["" if _is_complete(row) else _HATCHED for row in rows]}}}


def line(rows: list[Row], x: str, y: str, name: str, **more: Any) -> dict[str, Any]:
    """A line; the points of periods that are not complete are circles."""
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines", "name": name,
        "x": [_axis_value(row[x]) for row in rows], "y": column_values(rows, y),
    }  # fmt: skip
    if not all(map(_is_complete, rows)):
        sizes = [0 if _is_complete(row) else 8 for row in rows]
        trace |= {"mode": "lines+markers", "marker": {"symbol": _OPEN_POINT, "size": sizes}}
    return {**trace, **more}


def line_chart(rows: list[Row], x: str, series: Mapping[str, str], **layout: Any) -> Plot:
    """A line for each column."""
    return {"data": [line(rows, x, name, label) for name, label in series.items()], "layout": layout}


def grouped_chart(rows: list[Row], by: str, *, x: str, y: str, kind: str = "bar", **layout: Any) -> Plot:
    """
    A series for each value of the column ``by``, the largest total first; bars are stacked.

    Rows that stand for several series (`largest_and_other`) are the last one, "Other".
    """
    series: dict[tuple[bool, Any], list[Row]] = {}
    for row in rows:
        series.setdefault((bool(row.get("is_other")), row[by]), []).append(row)
    trace = bars if kind == "bar" else line
    return {
        "data": [
            trace(series[key], x, y, _series_name(series[key][0], by))
            for key in sorted(series, key=lambda key: (key[0], -sum(float(row[y] or 0) for row in series[key])))
        ],
        "layout": {
            **({"barmode": "stack"} if kind == "bar" else {}),
            **(period_axis(rows) if x == "period" else {}),
            **layout,
        },
    }


def _series_name(row: Row, by: str) -> str:
    if row.get("is_other"):
        return "Other"
    return str(_axis_value(row[by]))


def named(rows: list[Row], by: str) -> list[Row]:
    """The rows with the name of their series in the column ``by``, for an axis."""
    return [{**row, by: _series_name(row, by)} for row in rows]


def ranking_chart(rows: list[Row], *, label: str, y: str, key: str | None = None, **layout: Any) -> Plot:
    """
    Horizontal bars, the first row on top; those of periods that are not complete are hatched.

    :param key: the column that follows a label that several rows have, or they would share a bar
    """
    labels = [str(_axis_value(row[label])) for row in rows]
    if key:
        times = Counter(labels)
        labels = [f"{text} · {row[key]}" if times[text] > 1 else text for text, row in zip(labels, rows, strict=True)]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": column_values(rows, y),
                "y": labels,
                **_hatched(rows),
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}, "showlegend": False, **layout},
    }


def heatmap(
    rows: list[Row],
    *,
    x: str,
    y: str,
    z: str,
    unit: str = "",
    diverges_at: float | None = None,
    columns: Sequence[Any] | None = None,
    lines: Sequence[Any] | None = None,
) -> Plot:
    """
    A cell for each pair of values; a pair without a row stays empty. Cells of periods that are not complete have a
    circle.

    :param unit: what the pointer shows after the value
    :param diverges_at: the value without a colour; those above and below it have two
    :param columns: the values of ``x`` in their order; None: all, from small to large
    :param lines: the same of ``y``
    """
    columns = _in_order(rows, x) if columns is None else columns
    lines = _in_order(rows, y) if lines is None else lines
    cells = {(row[x], row[y]): json_value(row[z]) for row in rows}
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [_axis_value(value) for value in columns],
        "y": [_axis_value(value) for value in lines],
        "z": [[cells.get((column, line)) for column in columns] for line in lines],
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y} · %{x}<br><b>%{z:,.1f}" + unit + "</b><extra></extra>",
    }
    if open_cells := {(row[x], row[y]) for row in rows if not _is_complete(row)}:
        trace["text"] = [[_OPEN_CELL if (column, line) in open_cells else "" for column in columns] for line in lines]
        trace["texttemplate"] = "%{text}"
    if diverges_at is not None:
        trace["zmid"] = diverges_at
    layout = {"yaxis": {"autorange": "reversed", "type": "category"}}
    return {"data": [trace], "layout": layout | (period_axis(rows, x) if isinstance(columns[0], date) else {})}


def period_axis(rows: list[Row], x: str = "period") -> Plot:
    """The layout by which an axis names the months, quarters or years of the column ``x``, and no days between few."""
    if rows[0].get("unit", "month") in ("day", "week"):
        return {}
    periods = sorted({row[x] for row in rows})
    if len(periods) <= 2:
        return {"xaxis": {"tickvals": [json_value(period) for period in periods], "tickformat": "%b %Y"}}
    # One more: bars need half a period on both sides.
    return {"xaxis": {"nticks": len(periods) + 1}}


def _in_order(rows: list[Row], name: str) -> list[Any]:
    return sorted({row[name] for row in rows}, key=lambda value: (value is None, value))


# -- the line below a chart --------------------------------------------------------------------------------------------


def describe_parts(rows: list[Row], series: str, row_unit: str) -> str:
    """
    What a chart has added up or left out, and which of its periods are not complete; empty for nothing.

    :param rows: those of the chart's query
    :param series: what there is a series or a bar of, in the plural
    :param row_unit: the unit of time of the table's rows
    """
    first = rows[0]
    unit = first.get("unit", row_unit)
    texts = [
        _describe_series(first, series),
        "" if unit == row_unit else f"Drawn by {unit}.",
        _describe_incomplete(rows),
    ]
    return " ".join(filter(None, texts))


def _describe_series(row: Row, series: str) -> str:
    """`24 categories: the 11 largest, and the rest as Other.`, `The first 15 of 4,312 products; …`; else empty."""
    if (many := row.get("series_count") or 0) > CHART_SERIES + 1:
        return f"{many:,} {series}: the {CHART_SERIES} largest, and the rest as Other."
    if (many := row.get("ranked_count") or 0) > RANKED_BARS:
        rest = row.get("rest")
        others = "" if rest is None else f"; all others together: {rest:,}"
        return f"The first {RANKED_BARS} of {many:,} {series}{others}."
    return ""


def _describe_incomplete(rows: list[Row]) -> str:
    """`Not complete: Mar 2024.`; empty if every period is complete."""
    # A figure without a query for its chart has rows by month.
    periods: dict[date, str] = {
        row["period" if "period" in row else "month"]: row.get("unit", "month") for row in rows if not _is_complete(row)
    }
    names = [period_name(period, periods[period]) for period in sorted(periods)]
    if not names:
        return ""
    # Those before the first loaded day can be many.
    text = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}, {len(names):,} periods"
    return f"Not complete: {text}."


def _is_complete(row: Row) -> bool:
    return bool(row.get("is_complete", True))


def period_name(period: date, unit: str) -> str:
    """`28 Jun 2024`, `week of 24 Jun 2024`, `Jun 2024`, `Q2 2024`, `2024`."""
    match unit:
        case "day":
            return day(period)
        case "week":
            return f"week of {day(period)}"
        case "quarter":
            return f"Q{(period.month + 2) // 3} {period.year}"
        case "year":
            return str(period.year)
    return format_value(period, Format.MONTH)

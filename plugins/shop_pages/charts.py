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
#: Behind the name of a line, for its points of periods that are not complete.
_NOT_COMPLETE = ", not complete"


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


def lines_of(rows: list[Row], x: str, y: str, name: str, **more: Any) -> list[dict[str, Any]]:
    """
    A line through the complete periods, and a circle for each that is not complete.

    A circle is not joined to the line: a week of two days would look as if the shop had lost half of its sales.
    """
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines" if sum(map(_is_complete, rows)) > 1 else "lines+markers",
        "name": name,
        "x": [_axis_value(row[x]) for row in rows],
        "y": [json_value(row[y]) if _is_complete(row) else None for row in rows],
        **more,
    }
    if all(map(_is_complete, rows)):
        return [trace]
    open_rows = [row for row in rows if not _is_complete(row)]
    circles = {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name}{_NOT_COMPLETE}",
        "x": [_axis_value(row[x]) for row in open_rows],
        "y": column_values(open_rows, y),
        "marker": {"symbol": _OPEN_POINT, "size": 8},
        "legendgroup": name,
        "showlegend": False,
    }
    return [{**trace, "legendgroup": name}, circles]


def line_chart(rows: list[Row], x: str, series: Mapping[str, str], **layout: Any) -> Plot:
    """A line for each column over the periods of the column ``x``."""
    return {
        "data": [trace for name, label in series.items() for trace in lines_of(rows, x, name, label)],
        "layout": {**period_axis(rows, x), **layout},
    }


def grouped_chart(rows: list[Row], by: str, *, x: str, y: str, kind: str = "bar", **layout: Any) -> Plot:
    """
    A series for each value of the column ``by``, the largest total first; bars are stacked.

    Rows that stand for several series (`largest_and_other`) are the last one, "Other".
    """
    series: dict[tuple[bool, Any], list[Row]] = {}
    for row in rows:
        series.setdefault((bool(row.get("is_other")), row[by]), []).append(row)
    by_size = sorted(series, key=lambda key: (key[0], -sum(float(row[y] or 0) for row in series[key])))
    names = {key: _series_name(series[key][0], by) for key in by_size}
    data: list[dict[str, Any]] = []
    for key in by_size:
        data += [bars(series[key], x, y, names[key])] if kind == "bar" else lines_of(series[key], x, y, names[key])
    return {
        "data": data,
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


#: How the pointer names a period whose name does not fit on the axis.
_POINTER_FORMATS = {
    "day": "%-d %b %Y",
    "week": "week of %-d %b %Y",
    "month": "%b %Y",
    "quarter": "Q%q %Y",
    "year": "%Y",
}
#: Days that each have a name on the axis; of more, the Mondays, and of still more the first days of months.
_NAMED_DAYS, _NAMED_MONDAYS = 31, 140


def period_axis(rows: list[Row], x: str = "period", unit: str = "month") -> Plot:
    """
    The layout of an axis of time: it names each period of the column ``x`` as the table does, and days by their day.

    Without it Plotly chooses moments, such as 31 March on an axis of months, or midnight on one of days. The browser
    leaves out names where there is no room for all, and adds the year to those of days.

    :param unit: that of the rows, if they have no column `unit`
    """
    unit = rows[0].get("unit", unit)
    incomplete = {row[x] for row in rows if not _is_complete(row)}
    running = {row[x] for row in rows if row.get("is_running")}
    periods = sorted({row[x] for row in rows})
    named = _named_days(periods) if unit == "day" else periods
    return {
        "xaxis": {
            "type": "date",
            "tickmode": "array",
            "tickvals": [json_value(period) for period in named],
            "ticktext": [
                _tick_name(period, unit)
                + ("" if period not in incomplete else "\nso far" if period in running else "\npart")
                for period in named
            ],
            "hoverformat": _POINTER_FORMATS[unit],
        }
    }


def _named_days(days: list[date]) -> list[date]:
    if len(days) <= _NAMED_DAYS:
        return days
    if (days[-1] - days[0]).days <= _NAMED_MONDAYS:
        return [day for day in days if day.weekday() == 0]
    return [day for day in days if day.day == 1] or days[:1]


def _tick_name(period: date, unit: str) -> str:
    """`28 Jun` for a day and the Monday of a week, else as in a sentence."""
    return f"{period.day} {period:%b}" if unit in ("day", "week") else period_name(period, unit)


#: The colours of what charts measure and of names that mean something: those of `--c1` to `--c12` in the style sheet.
_COLOURS = {
    "Revenue": 1, "7-day average of revenue": 1, "Net revenue": 3, "Refunds": 6, "Target": 2, "Contribution": 3,
    "The same days a year before": 7, "Run rate of the running period": 5, "Discount": 5, "Lifetime value": 8,
    "Returning": 9, "New": 2, "Guests": 7, "View to cart": 5, "View to purchase": 9,
    "High": 6, "Medium": 2, "Low": 7, "In Stock": 3, "Needs Reorder": 2, "Out of Stock": 6, "Unknown": 7,
    "Estimated lost units": 6, "Effect found": 1, "Net retention": 3, "Gross retention": 1, "Other": 12, "(none)": 12,
}  # fmt: skip
#: Colours of the other names. Each that has none left gets a lighter shade of one.
_NAMED_COLOURS = 11


def colours_of(plot: Plot, names: Sequence[Any] = ()) -> dict[str, tuple[int, int]]:
    """
    Name of a series or of a part of a pie → its colour and shade.

    :param names: all names that there are, in an order that filters do not change; those of the chart by default
    """
    drawn = [name for trace in plot["data"] for name in (trace.get("labels") or [trace.get("name")]) if name]
    if len(plot["data"]) == 1 and not plot["data"][0].get("labels") and not names:
        # A single series has no legend: whatever it measures is its only colour.
        return {str(name): (_COLOURS.get(str(name), 1), 0) for name in drawn}
    all_names = dict.fromkeys([*(str(_axis_value(name)) for name in names), *sorted(map(str, drawn))])
    free = [name for name in all_names if name not in _COLOURS and not name.endswith(_NOT_COMPLETE)]
    colours = {name: (slot, 0) for name, slot in _COLOURS.items()}
    colours |= {name: (1 + n % _NAMED_COLOURS, n // _NAMED_COLOURS) for n, name in enumerate(free)}
    return {name: colours[name.removesuffix(_NOT_COMPLETE)] for name in map(str, drawn)}


def with_titles(
    plot: Plot, rows: list[Row], *, measure: str, measured_in: Format, names: str, lines: str, unit: str, currency: str
) -> Plot:
    """
    The chart with a title at each axis, and amounts as the tables write them. A pie and a funnel have no axes.

    :param measure: the title of the axis of values; likewise the others, see `Figure`
    :param unit: that of time, if the rows have no column `unit`
    :param currency: the ISO code beside the title of an axis of money; empty for none
    """
    first = plot["data"][0]
    if first["type"] in ("pie", "funnel"):
        return plot
    title = f"{measure}, {currency}" if measured_in is Format.MONEY and currency else measure
    values: Plot = {"title": {"text": title}, "hoverformat": _VALUE_FORMATS.get(measured_in, ",")}
    if measured_in is Format.PERCENT:
        values["ticksuffix"] = " %"
    other: Plot = {"title": {"text": names or str(rows[0].get("unit", unit)).capitalize()}}
    layout = dict(plot["layout"])
    if first["type"] == "heatmap":
        data = [{**trace, "colorbar": {"title": {"text": title}}} for trace in plot["data"]]
        axes = {"xaxis": other, "yaxis": {"title": {"text": lines}}}
    else:
        data = [{**trace, "name": trace.get("name") or measure} for trace in plot["data"]]
        is_lying = first.get("orientation") == "h" or "error_x" in first
        axes = {"xaxis": values, "yaxis": other} if is_lying else {"xaxis": other, "yaxis": values}
    return {"data": data, "layout": layout | {name: axes[name] | layout.get(name, {}) for name in axes}}


_VALUE_FORMATS = {Format.MONEY: ",.2f", Format.PERCENT: ",.2f"}


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

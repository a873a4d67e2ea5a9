"""Charts from rows: each function returns the `data` and `layout` of a Plotly chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop_pages.figures import Plot, json_value
from shop_pages.pool import Row


def _axis_value(value: Any) -> Any:
    """A value of an axis: Plotly draws nothing for a null."""
    return "(none)" if value is None else json_value(value)


def column_values(rows: list[Row], name: str) -> list[Any]:
    """The values of one column."""
    return [json_value(row[name]) for row in rows]


def line_chart(rows: list[Row], x: str, series: Mapping[str, str], **layout: Any) -> Plot:
    """A line for each column."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": label,
                "x": column_values(rows, x),
                "y": column_values(rows, name),
            }
            for name, label in series.items()
        ],
        "layout": layout,
    }


def grouped_chart(rows: list[Row], by: str, *, x: str, y: str, kind: str = "bar", **layout: Any) -> Plot:
    """A series for each value of the column ``by``, the largest total first; bars are stacked."""
    totals: dict[Any, float] = {}
    for row in rows:
        totals[row[by]] = totals.get(row[by], 0.0) + float(row[y] or 0)
    shape: dict[str, Any] = {"type": "bar"} if kind == "bar" else {"type": "scatter", "mode": "lines"}
    return {
        "data": [
            {
                **shape,
                "name": str(_axis_value(value)),
                "x": [_axis_value(row[x]) for row in rows if row[by] == value],
                "y": [json_value(row[y]) for row in rows if row[by] == value],
            }
            for value in sorted(totals, key=lambda value: -totals[value])
        ],
        "layout": {**({"barmode": "stack"} if kind == "bar" else {}), **layout},
    }


def ranking_chart(rows: list[Row], *, label: str, y: str, **layout: Any) -> Plot:
    """Horizontal bars, the first row on top."""
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": column_values(rows, y),
                "y": ["(none)" if row[label] is None else str(row[label]) for row in rows],
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}, "showlegend": False, **layout},
    }


def heatmap(rows: list[Row], *, x: str, y: str, z: str, unit: str = "", diverges_at: float | None = None) -> Plot:
    """A cell for each pair of values; a pair without a row stays empty."""
    columns = sorted({row[x] for row in rows}, key=lambda value: (value is None, value))
    lines = sorted({row[y] for row in rows}, key=lambda value: (value is None, value))
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
    if diverges_at is not None:
        trace["zmid"] = diverges_at
    return {"data": [trace], "layout": {"yaxis": {"autorange": "reversed", "type": "category"}}}


def sum_by(rows: list[Row], by: tuple[str, ...], value: str) -> list[Row]:
    """The rows added up by the columns ``by``."""
    totals: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        totals[key] = totals.get(key, 0) + (row[value] or 0)
    return [{**dict(zip(by, key, strict=True)), value: total} for key, total in totals.items()]

"""The lineage of a dbt model as a picture: boxes and the curves between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop_pages.dbt_docs import ModelDocs

_NODE_WIDTH, _NODE_HEIGHT, _GAP_X, _GAP_Y = 210, 30, 60, 12


def lineage(models: Mapping[str, ModelDocs], name: str) -> dict[str, Any]:
    """
    The picture of all models above and below one, from left to right.

    Each model is one column to the right of its rightmost parent.
    """
    names = {name} | _connected(models, name, "parents") | _connected(models, name, "children")
    lanes = _lanes(models, names)
    height = max(len(lane) for lane in lanes)
    boxes = {
        box["name"]: {**box, "is_own": box["name"] == name}
        for n, lane in enumerate(lanes)
        for box in _boxes(n, lane, height)
    }
    return {
        "boxes": sorted(boxes.values(), key=lambda box: (box["x"], box["y"])),
        "paths": [
            _curve(boxes[parent], boxes[child])
            for child in sorted(names)
            for parent in models[child].parents
            if parent in names
        ],
        "width": len(lanes) * (_NODE_WIDTH + _GAP_X) - _GAP_X + 4,
        "height": height * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y + 4,
        "node_width": _NODE_WIDTH,
        "node_height": _NODE_HEIGHT,
    }


def _connected(models: Mapping[str, ModelDocs], name: str, direction: str) -> set[str]:
    """All ancestors (`parents`) or all descendants (`children`) of a model."""
    connected: set[str] = set()
    to_visit = list(getattr(models[name], direction))
    while to_visit:
        neighbour = to_visit.pop()
        if neighbour not in connected:
            connected.add(neighbour)
            to_visit += getattr(models[neighbour], direction)
    return connected


def _lanes(models: Mapping[str, ModelDocs], names: set[str]) -> list[list[str]]:
    """The columns of the picture, from left to right."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            parents = [parent for parent in models[name].parents if parent in names]
            depths[name] = 1 + max(map(depth, parents), default=-1)
        return depths[name]

    lanes: list[list[str]] = [[] for _ in range(1 + max(map(depth, names)))]
    for name in sorted(names):
        lanes[depth(name)].append(name)
    return lanes


def _boxes(column: int, names: list[str], height: int) -> list[dict[str, Any]]:
    """The boxes of one column, centred in the picture's height."""
    top = (height - len(names)) * (_NODE_HEIGHT + _GAP_Y) / 2
    return [
        {
            "name": name,
            "x": column * (_NODE_WIDTH + _GAP_X) + 2,
            "y": round(top + n * (_NODE_HEIGHT + _GAP_Y)) + 2,
        }
        for n, name in enumerate(names)
    ]


def _curve(parent: Mapping[str, Any], child: Mapping[str, Any]) -> str:
    """The SVG path from the right edge of a box to the left edge of another."""
    x1, y1 = parent["x"] + _NODE_WIDTH, parent["y"] + _NODE_HEIGHT / 2
    x2, y2 = child["x"], child["y"] + _NODE_HEIGHT / 2
    middle = (x1 + x2) / 2
    return f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"

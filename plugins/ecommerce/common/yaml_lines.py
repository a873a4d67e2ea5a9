"""Line numbers of a YAML file, so that an error can name the line that has the mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

#: The way to a part of the file: keys of mappings, positions in lists.
Place = tuple[int | str, ...]


def load_with_lines(text: str) -> tuple[Any, dict[Place, int]]:
    """
    The content of a YAML text, and the line of each of its parts; an empty text has line 1 alone.

    :raises yaml.YAMLError: it is no YAML, or a mapping has a key twice
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
    return content, _numbers_of(node, ())


def line_of(lines: Mapping[Place, int], place: Place) -> int:
    """The line of a part of the file, or of the nearest part around it that the file has."""
    return next(lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines)


def _numbers_of(node: Any, place: Place) -> dict[Place, int]:
    if node is None:
        return {(): 1}
    numbers = {place: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inside = (*place, key.value)
            line = key.start_mark.line + 1
            if inside in numbers:
                raise yaml.YAMLError(f"{key.value} is there twice, in line {numbers[inside]} and in line {line}")
            numbers |= _numbers_of(value, inside) | {inside: line}
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            numbers |= _numbers_of(item, (*place, number))
    return numbers

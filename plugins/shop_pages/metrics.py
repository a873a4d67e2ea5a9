"""The definitions of the figures: `docs/metrics.md`, with an anchor for each heading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

#: A row of the table of a mart: "| `daily_orders` | orders | orders |"; two columns may share a row.
_DEFINED = re.compile(r"\| (?P<columns>`[^|]+`) \| (?P<text>.+) \| (?P<unit>[^|]+) \|")
_MART = re.compile(r"## `?(?P<mart>[a-z0-9_]+)`?$")
_METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"


@cache
def metrics_html() -> Markup:
    """
    The text as HTML. The heading of a mart has its name as an anchor: "## `daily_revenue`" → `#daily_revenue`.

    :raises FileNotFoundError: the file is not here
    """
    # Without HTML of its own: whatever the text has in angle brackets is shown as such.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(_METRICS.read_text())
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(text.content))
    for token in tokens:
        if token.children:
            token.children = _without_links(token.children)
    html = markdown.renderer.render(tokens, markdown.options, {})
    # A query may be wider than the page: it can be scrolled by keyboard, too.
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704


@dataclass(frozen=True)
class Definition:
    """
    What a column of a mart says, and its unit: `money`, `percent`, `orders` …

    :param text: without Markdown
    """

    text: str
    unit: str


@cache
def definitions() -> Mapping[str, Mapping[str, Definition]]:
    """Mart → column → its definition; empty if the text is not here."""
    found: dict[str, dict[str, Definition]] = {}
    mart: dict[str, Definition] = {}
    for line in _METRICS.read_text().splitlines() if _METRICS.exists() else ():
        if heading := _MART.match(line):
            mart = found[heading["mart"]] = {}
        elif row := _DEFINED.match(line):
            definition = Definition(_plain(row["text"]), row["unit"].strip())
            mart |= dict.fromkeys(re.findall(r"`(\w+)`", row["columns"]), definition)
    return found


def _plain(markdown: str) -> str:
    """A sentence without Markdown: names of columns as words."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"`([^`]*)`", lambda code: code[1].replace("_", " "), text)
    return f"{text[:1].upper()}{text[1:]}."


def anchor(heading: str) -> str:
    """`daily_revenue` of "`daily_revenue`: by day", `orders-and-lines` of "Orders and lines"."""
    name = heading.partition(":")[0]
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")


def _without_links(tokens: list[Token]) -> list[Token]:
    """Without links to other files, which these pages do not have; their texts stay."""
    kept, is_open = [], False
    for token in tokens:
        if token.type == "link_open":
            is_open = str(token.attrGet("href")).startswith("#")
        if token.type not in ("link_open", "link_close") or is_open:
            kept.append(token)
    return kept

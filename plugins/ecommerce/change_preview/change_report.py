"""The report of a preview: Markdown for a pull request, and the same as a page of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from ecommerce.change_preview.mart_differences import ChangedFigure, MartDifference, NumericColumn, OneSide
from ecommerce.change_preview.preview_change import ChangePreview
from ecommerce.common.shown_text import markdown_text

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }}
table {{ border-collapse: collapse; margin: 0 0 1.5rem; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #d5dce4; padding: .3rem .7rem; text-align: left; vertical-align: top; }}
th {{ background: #f2f5f8; }}
td {{ font-variant-numeric: tabular-nums; }}
h2 {{ margin-top: 2.5rem; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #12171d; color: #dfe6ee; }}
  th {{ background: #1d2630; }}
  th, td {{ border-color: #35414e; }}
}}
</style>
<main>
{body}</main>
</html>
"""


def as_markdown(preview: ChangePreview) -> str:
    """The report for a pull request: what changes in each mart, in exact figures."""
    return "\n".join(_lines(preview)) + "\n"


def as_page(preview: ChangePreview) -> str:
    """The report as a page that needs no other file."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    return _PAGE.format(title=escape(f"Preview of {preview.branch}"), body=markdown.render(as_markdown(preview)))


def _lines(preview: ChangePreview) -> Iterator[str]:
    base = f"{markdown_text(preview.base.branch)} ({preview.base.commit[:7]})"
    yield f"# Preview of {markdown_text(preview.branch)}"
    yield ""
    if not preview.changed:
        yield f"The change touches no model: the marts are those of {base}."
    else:
        yield (
            f"Compared with {base}, as of {preview.as_of_date}. The change touches {_names(preview.changed)}. "
            f"Both versions of {_count(len(preview.built), 'model')} were built from the same rows, "
            f"in {preview.seconds:.0f} s."
        )
    for remark in preview.remarks:
        yield ""
        yield f"> {markdown_text(remark, 1_500)}"
    yield from _summary(preview.marts)
    for mart in preview.marts:
        if not mart.is_equal:
            yield from _mart(mart)


def _summary(marts: Sequence[MartDifference]) -> Iterator[str]:
    if changed := [mart for mart in marts if not mart.is_equal]:
        yield from _table(
            ("Mart", "Columns", "Rows before", "Rows after", "Only before", "Only after", "Other values"),
            (
                (
                    f"`{mart.mart}`",
                    _columns_in_short(mart),
                    f"{mart.rows_before:,}",
                    f"{mart.rows_after:,}",
                    f"{mart.only_before.rows:,}",
                    f"{mart.only_after.rows:,}",
                    "not comparable" if mart.keys else f"{mart.changed:,}",
                )
                for mart in changed
            ),
        )
    if equal := [mart.mart for mart in marts if mart.is_equal]:
        yield ""
        yield f"Equal in every row and column: {_names(equal)}."


def _columns_in_short(mart: MartDifference) -> str:
    if mart.is_new or mart.is_gone:
        return "new mart" if mart.is_new else "mart is gone"
    counts = {"added": mart.added, "gone": mart.gone, "retyped": mart.retyped}
    return ", ".join(f"{len(columns)} {what}" for what, columns in counts.items() if columns) or "same"


def _mart(mart: MartDifference) -> Iterator[str]:
    yield ""
    yield f"## {mart.mart}"
    if mart.is_new or mart.is_gone:
        yield ""
        yield f"The mart is new, with {_count(mart.rows_after, 'row')}." if mart.is_new else "The mart is gone."
        return
    yield from _columns(mart)
    yield from _one_side("Only before", mart.only_before)
    yield from _one_side("Only after", mart.only_after)
    yield from _sums(mart.numbers)
    for column in mart.numbers:
        if column.largest:
            yield from _largest(column)


def _columns(mart: MartDifference) -> Iterator[str]:
    items = [
        *(f"Column added: `{name}` {kind}" for name, kind in mart.added),
        *(f"Column gone: `{name}` {kind}" for name, kind in mart.gone),
        *(f"Column retyped: `{name}`, {old} → {new}" for name, old, new in mart.retyped),
        *(f"Other values of `{name}` in {_count(rows, 'row')}" for name, rows in mart.texts.items()),
    ]
    if mart.keys:
        old, new = (", ".join(f"`{name}`" for name in key) or "none" for key in mart.keys)
        items.append(f"Key before: {old}; after: {new}. Rows cannot be matched, so only counts and sums are compared")
    if items:
        yield ""
    yield from (f"- {item}" for item in items)


def _one_side(title: str, side: OneSide) -> Iterator[str]:
    if side.rows:
        more = f"; and {side.rows - len(side.keys):,} more" if side.rows > len(side.keys) else ""
        yield ""
        yield f"{title}, {_count(side.rows, 'row')}: {'; '.join(map(_key, side.keys))}{more}"


def _sums(numbers: Sequence[NumericColumn]) -> Iterator[str]:
    if changed := [column for column in numbers if column.is_changed]:
        yield from _table(
            ("Column", "Sum before", "Sum after", "Difference", "Rows with another value"),
            ((f"`{column.name}`", *_before_and_after(column), f"{column.rows:,}") for column in changed),
        )
    if equal := [column for column in numbers if not column.is_changed]:
        yield ""
        sums = ", ".join(f"`{column.name}` ({_figure(column.after)})" for column in equal)
        yield f"Columns of numbers without any difference, with their sums: {sums}"


def _largest(column: NumericColumn) -> Iterator[str]:
    yield from _table(
        (f"Largest differences of `{column.name}`", "Before", "After", "Difference"),
        ((_key(figure.key), *_before_and_after(figure)) for figure in column.largest),
    )


def _before_and_after(figures: NumericColumn | ChangedFigure) -> tuple[str, str, str]:
    before, after = figures.before, figures.after
    difference = (Decimal(0) if after is None else after) - (Decimal(0) if before is None else before)
    return _figure(before), _figure(after), f"{difference:+,}"


def _figure(value: Decimal | None) -> str:
    """All its digits: nothing is rounded."""
    return "–" if value is None else f"{value:,}"


def _key(key: Mapping[str, Any]) -> str:
    return ", ".join("(none)" if value is None else markdown_text(value) for value in key.values())


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table; the first column has names, all others figures."""
    yield ""
    yield f"| {' | '.join(header)} |"
    yield f"| --- |{' ---: |' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"

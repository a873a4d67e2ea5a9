"""
The message of a digest: a text for a chat, HTML with pictures for an e-mail, and fields for a machine.

The HTML has no style sheet and no style attributes: mail programs drop much of them, and the page with the preview
allows none. Whatever is a text of the shop, such as a product's name, is shown as text (`shown_text`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from ecommerce.alerts.bar_picture import BAR_WIDTH, GAP, HEIGHT, bar_picture
from ecommerce.alerts.digest import Digest
from ecommerce.common.shown_text import chat_text, html_text, one_line
from ecommerce.figures.decomposition import Decomposition
from ecommerce.figures.key_figures import SPARKLINE_DAYS, Change, FigureOfDay
from ecommerce.figures.movements import DimensionEffects, Movement, name_of, why_path
from ecommerce.figures.number_formats import day as format_day
from ecommerce.figures.number_formats import signed

#: Rows of the table of what moved a figure.
_TABLE_ROWS = 5
_TITLE_LENGTH = 200


def picture_name(figure: FigureOfDay) -> str:
    """The name of a figure's picture, by which the HTML of an e-mail finds it among the parts of the e-mail."""
    return f"{figure.figure.name}.png"


@dataclass(frozen=True)
class DigestMessage:
    """
    A digest as a message.

    :param address_of: `pages_address`; None for no links
    """

    digest: Digest
    address_of: Callable[[str], str] | None

    #: Of an e-mail connection's extra: who gets it; the first of these that is there.
    recipients = ("digest_to", "to")

    @property
    def title(self) -> str:
        """`Shop on 1 Mar 2024: Revenue 1,000.00 (+25.0 % against the week before)`: the subject of the e-mail."""
        title = f"Shop on {format_day(self.digest.as_of)}"
        if self.digest.figures:
            first = self.digest.figures[0]
            title += f": {first.figure.title} {first.exact}"
            # Against the day that the rest of the message explains.
            labels = {movement.label for movement in self.digest.movements}
            compared = [change for change in first.changes if change.label in labels and change.direction != "none"]
            if compared:
                title += f" ({compared[0].text} against the {compared[0].label})"
        return one_line(title, _TITLE_LENGTH)

    @property
    def text(self) -> str:
        """The message for a chat."""
        return "\n".join((chat_text(self.title), *self._lines(chat_text)))

    @property
    def html(self) -> str:
        """The message for an e-mail; its pictures are parts of the e-mail."""
        return self.html_with(lambda name: f"cid:{name}")

    @cached_property
    def pictures(self) -> Mapping[str, bytes]:
        """A PNG file for each figure, by name: the values of its last days."""
        return {
            picture_name(figure): bar_picture([None if value is None else float(value) for value in figure.history])
            for figure in self.digest.figures
        }

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON of a webhook: `text`, which Slack, Mattermost and others show, and `digest`, the fields."""
        return {
            "text": self.text,
            "digest": {
                "as_of": self.digest.as_of.isoformat(),
                "figures": [_figure_fields(figure) for figure in self.digest.figures],
                "moved": [_movement_fields(movement) for movement in self.digest.movements],
                "needs": [{"text": need.text, "items": list(need.items)} for need in self.digest.needs],
            },
        }

    def _lines(self, shown: Callable[[object], str]) -> Iterator[str]:
        for figure in self.digest.figures:
            changes = ", ".join(map(_change_text, figure.changes))
            yield shown(f"{figure.figure.title} {figure.exact}: {changes}")
        for movement in self.digest.movements:
            yield ""
            yield shown(movement.headline)
            for part in movement.dimensions:
                yield "    " + shown(f"By {part.dimension.one}: {part.sentence}")
        yield ""
        if not self.digest.needs:
            yield "Nothing to do: no incident, no approval, no order to review, no product to order."
        for need in self.digest.needs:
            yield shown(need.text)
            for item in need.items:
                yield "    " + shown(item)
        if self.address_of:
            yield ""
            yield f"Today: {self.address_of('/today')}"

    # -- HTML ----------------------------------------------------------------------------------------------------------

    def html_with(self, picture_of: Callable[[str], str]) -> str:
        """
        The message in HTML.

        :param picture_of: the name of a picture → its address
        """
        return "\n".join(
            (
                f"<h2>{html_text(self.title)}</h2>",
                *self._figures_html(picture_of),
                *(line for movement in self.digest.movements for line in self._movement_html(movement)),
                "<h3>Needs someone</h3>",
                *self._needs_html(),
            )
        )

    def _link(self, path: str, text: str) -> str:
        if self.address_of is None:
            return html_text(text)
        return f'<a href="{escape(self.address_of(path))}">{html_text(text)}</a>'

    def _figures_html(self, picture_of: Callable[[str], str]) -> Iterator[str]:
        yield '<table cellpadding="6" cellspacing="0" border="0">'
        head = "".join(f'<th align="right">{label}</th>' for label in self._labels())
        yield (
            f'<tr><th align="left">Figure</th><th align="right">Value</th>{head}'
            f'<th align="left">Last {SPARKLINE_DAYS} days</th></tr>'
        )
        width = SPARKLINE_DAYS * (BAR_WIDTH + GAP)
        for figure in self.digest.figures:
            changes = "".join(
                f'<td align="right" title="{escape(change.reason)}">{html_text(change.text)}</td>'
                for change in figure.changes
            )
            picture = (
                f'<img src="{escape(picture_of(picture_name(figure)))}" width="{width}" height="{HEIGHT}"'
                f' alt="{escape(figure.history_text)}">'
            )
            yield (
                f'<tr><th align="left">{self._link(figure.figure.link, figure.figure.title)}</th>'
                f'<td align="right"><b>{html_text(figure.exact)}</b></td>{changes}<td>{picture}</td></tr>'
            )
        yield "</table>"

    def _labels(self) -> list[str]:
        return [change.label for change in self.digest.figures[0].changes] if self.digest.figures else []

    def _movement_html(self, movement: Movement) -> Iterator[str]:
        path = why_path(movement.figure.name, movement.day, movement.label)
        yield f"<h3>{self._link(path, f'Why did {movement.figure.title.lower()} move?')}</h3>"
        yield f"<p>{html_text(movement.headline)}</p>"
        yield "<ul>"
        for part in movement.dimensions:
            yield f"<li>By {html_text(part.dimension.one)}: {html_text(part.sentence)}</li>"
        yield "</ul>"
        if movement.dimensions and movement.dimensions[0].decomposition.effects:
            yield from _effects_html(movement, movement.dimensions[0])

    def _needs_html(self) -> Iterator[str]:
        if not self.digest.needs:
            yield "<p>Nothing: no incident, no approval, no order to review, no product to order.</p>"
        for need in self.digest.needs:
            yield f"<p>{self._link(need.page, need.text)}</p>"
            if need.items:
                yield "<ul>" + "".join(f"<li>{html_text(item)}</li>" for item in need.items) + "</ul>"


def _effects_html(movement: Movement, part: DimensionEffects) -> Iterator[str]:
    """A table of the largest effects, which adds up to the difference."""
    decomposition: Decomposition = part.decomposition
    yield '<table cellpadding="4" cellspacing="0" border="0">'
    yield f'<tr><th align="left">{html_text(part.dimension.one.capitalize())}</th><th align="right">Effect</th></tr>'
    for effect in decomposition.largest(_TABLE_ROWS):
        makes = html_text(signed(effect.effect, movement.figure.format))
        yield f'<tr><td>{html_text(name_of(effect, part.dimension))}</td><td align="right">{makes}</td></tr>'
    if decomposition.difference is not None:
        total = html_text(signed(decomposition.difference, movement.figure.format))
        yield f'<tr><th align="left">Together</th><td align="right"><b>{total}</b></td></tr>'
    yield "</table>"


def _change_text(change: Change) -> str:
    return f"{change.label} {change.text}"


def _figure_fields(figure: FigureOfDay) -> dict[str, Any]:
    return {
        "name": figure.figure.name,
        "title": figure.figure.title,
        "value": None if figure.value is None else float(round(figure.value, 2)),
        "text": figure.exact,
        "changes": [
            {"label": change.label, "day": change.day.isoformat(), "before": change.before, "text": change.text}
            for change in figure.changes
        ],
    }


def _movement_fields(movement: Movement) -> dict[str, Any]:
    return {
        "figure": movement.figure.name,
        "against": movement.before_day.isoformat(),
        "difference": None if movement.difference is None else float(movement.difference),
        "text": movement.headline,
        "by": {
            part.dimension.name: [
                {"member": name_of(effect, part.dimension), "effect": float(effect.effect)}
                for effect in part.decomposition.largest(_TABLE_ROWS)
            ]
            for part in movement.dimensions
        },
    }

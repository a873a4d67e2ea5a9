"""The message of a digest: its pictures, what a hostile name becomes in it, and what it says of nothing to do."""

import re
import struct
import zlib
from dataclasses import replace
from datetime import date
from decimal import Decimal
from html import unescape

import pytest

from ecommerce.alerts.bar_picture import BAR_WIDTH, GAP, HEIGHT, bar_picture
from ecommerce.alerts.digest import Digest, Need
from ecommerce.alerts.digest_message import DigestMessage
from ecommerce.common.pages_url import pages_address
from ecommerce.figures.key_figures import ALL_FIGURES, FigureOfDay, change_between
from ecommerce.figures.movements import explain

AS_OF, WEEK_BEFORE = date(2024, 3, 1), date(2024, 2, 23)
REVENUE = ALL_FIGURES["revenue"]
HOSTILE = '<img src=x onerror=alert(1)>"@channel\n# heading https://evil.test'


def movement_rows(**amounts: tuple[int, int]) -> list[dict]:
    return [
        {
            "dimension": dimension, "is_small": False, "member_id": name, "member": name, "members": 1,
            "revenue_before": Decimal(before), "revenue_after": Decimal(after),
        }
        for dimension in ("category", "product", "payment_method", "customer_kind")
        for name, (before, after) in amounts.items()
    ]  # fmt: skip


def digest_of(rows: list[dict], needs: list[Need] | None = None) -> Digest:
    changes = [
        change_between(REVENUE, "day before", date(2024, 2, 29), Decimal(125), Decimal(50)),
        change_between(REVENUE, "week before", date(2024, 2, 23), Decimal(125), Decimal(100)),
    ]
    figure = FigureOfDay(REVENUE, AS_OF, Decimal(125), "", changes, [None, Decimal(100), Decimal(125)])
    return Digest(AS_OF, [figure], [explain("revenue", AS_OF, "week before", rows)], needs or [])


def pixels_of(picture: bytes) -> list[bytes]:
    """The lines of a picture, read as the standard has it, with each checksum looked at."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        body = picture[at + 4 : at + 8 + length]
        assert struct.unpack(">I", picture[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == [8, 3, 0, 0, 0]
    data = zlib.decompress(chunks[b"IDAT"])
    assert len(data) == height * (width + 1)
    lines = [data[n * (width + 1) : (n + 1) * (width + 1)] for n in range(height)]
    assert {line[0] for line in lines} == {0}
    return [line[1:] for line in lines]


@pytest.mark.parametrize(
    ("values", "heights"),
    [
        ([None, 0.0, 50.0, 100.0], [0, 1, 18, 36]),
        ([-50.0, 50.0], [1, 36]),
        ([None, None], [0, 0]),
        ([0.0], [1]),
    ],
)
def test_picture_has_a_bar_for_each_value(values: list[float | None], heights: list[int]) -> None:
    lines = pixels_of(bar_picture(values))
    assert (len(lines), len(lines[0])) == (HEIGHT, len(values) * (BAR_WIDTH + GAP))
    bars = [[line[n * (BAR_WIDTH + GAP)] for line in lines] for n in range(len(values))]
    assert [sum(pixel > 0 for pixel in bar) for bar in bars] == heights
    # The last one, the day of the digest, has another colour; a bar stands on the ground.
    assert {bar[-1] for bar in bars[:-1]} <= {0, 1}
    assert bars[-1][-1] in (0, 2)


def test_text_says_figures_reasons_and_needs() -> None:
    needs = [Need("1 order of 30 days to review", ["O-1, 999.00: a high discount"], "/review")]
    digest = digest_of(movement_rows(Toys=(0, 120), Food=(100, 5)), needs)
    message = DigestMessage(digest, pages_address("https://airflow.shop.test/"))
    assert message.text.splitlines() == [
        "Shop on 1 Mar 2024: Revenue 125.00 (+25.0 % against the week before)",
        "Revenue 125.00: day before +150.0 %, week before +25.0 %",
        "",
        "Revenue on 1 Mar 2024: 125.00, +25.00 (+25.0 %) against 23 Feb 2024, the week before.",
        *(
            f"    By {one}: Mostly Toys (+120.00); against it Food (−95.00)."
            for one in ("category", "product", "payment method", "kind of customer")
        ),
        "",
        "1 order of 30 days to review",
        "    O-1, 999.00: a high discount",
        "",
        "Today: https://airflow.shop.test/plugin/shop/shop/today",
    ]
    assert message.title == "Shop on 1 Mar 2024: Revenue 125.00 (+25.0 % against the week before)"
    assert message.payload["digest"]["moved"][0]["difference"] == 25.0
    assert message.payload["digest"]["moved"][0]["by"]["category"] == [
        {"member": "Toys", "effect": 120.0},
        {"member": "Food", "effect": -95.0},
    ]


def words_of(html: str) -> list[str]:
    """The lines of a page without tags, with a bar between cells; a picture is its text."""
    html = re.sub(r'<img [^>]*alt="([^"]*)">', r"\1", html)
    html = re.sub("</t[hd]>(?=<t)", "|", html)
    lines = (re.sub("<[^>]*>", "", line) for line in html.splitlines())
    return [unescape(line) for line in lines if line]


def test_html_says_figures_reasons_effects_and_needs() -> None:
    needs = [Need("1 order of 30 days to review", ["O-1, 999.00: a high discount"], "/review")]
    digest = digest_of(movement_rows(Toys=(0, 120), Food=(100, 5)), needs)
    html = DigestMessage(digest, pages_address("https://airflow.shop.test/")).html
    assert words_of(html) == [
        "Shop on 1 Mar 2024: Revenue 125.00 (+25.0 % against the week before)",
        "Figure|Value|day before|week before|Last 30 days",
        "Revenue|125.00|+150.0 %|+25.0 %|Last 30 days: from 100.00 to 125.00",
        "Why did revenue move?",
        "Revenue on 1 Mar 2024: 125.00, +25.00 (+25.0 %) against 23 Feb 2024, the week before.",
        *(
            f"By {one}: Mostly Toys (+120.00); against it Food (−95.00)."
            for one in ("category", "product", "payment method", "kind of customer")
        ),
        "Category|Effect",
        "Toys|+120.00",
        "Food|−95.00",
        "Together|+25.00",
        "Needs someone",
        "1 order of 30 days to review",
        "O-1, 999.00: a high discount",
    ]
    assert re.findall('href="https://airflow.shop.test/plugin/shop/shop([^"]*)"', html) == [
        "/revenue#trend", "/why?figure=revenue&amp;day=2024-03-01&amp;against=week_before", "/review",
    ]  # fmt: skip


def test_json_has_figures_with_their_changes() -> None:
    digest = digest_of(movement_rows(Toys=(100, 125)))
    digest = replace(digest, figures=[replace(digest.figures[0], value=Decimal("125.004"))])
    (figure,) = DigestMessage(digest, None).payload["digest"]["figures"]
    assert {name: figure[name] for name in ("name", "title", "value")} == {
        "name": "revenue", "title": "Revenue", "value": 125.0,
    }  # fmt: skip
    assert [(change["label"], change["day"], change["text"]) for change in figure["changes"]] == [
        ("day before", "2024-02-29", "+150.0 %"), ("week before", "2024-02-23", "+25.0 %"),
    ]  # fmt: skip


def test_hostile_name_is_text_everywhere() -> None:
    digest = digest_of(movement_rows(**{HOSTILE: (0, 120), "Food": (100, 5)}), [Need(HOSTILE, [HOSTILE], "/review")])
    message = DigestMessage(digest, None)
    for shown in (message.text, message.html, message.title):
        assert "<img src=x" not in shown
        assert "@channel" not in shown
        assert "https://evil" not in shown
    assert "\n# heading" not in message.text
    assert "<a " not in message.html


def test_nothing_to_do_is_said() -> None:
    digest = replace(digest_of(movement_rows(Toys=(100, 125))), movements=[])
    message = DigestMessage(digest, None)
    assert message.text.splitlines()[-1].startswith("Nothing to do: ")
    assert message.pictures.keys() == {"revenue.png"}
    assert 'src="cid:revenue.png"' in message.html

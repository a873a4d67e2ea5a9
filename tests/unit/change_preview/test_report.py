"""The report of a preview: exact figures, and texts of the shop that stay texts."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ecommerce.change_preview.base_commit import BaseCommit
from ecommerce.change_preview.change_report import as_markdown, as_page
from ecommerce.change_preview.mart_differences import ChangedFigure, MartDifference, NumericColumn, OneSide
from ecommerce.change_preview.preview_change import ChangePreview

HOSTILE = '<img src=x onerror="alert(1)"> | [x](http://example.org)'


@pytest.fixture
def shown() -> ChangePreview:
    revenue = NumericColumn(
        "revenue",
        Decimal("1234567.10"),
        Decimal("1234566.05"),
        2,
        [
            ChangedFigure({"day": "2024-01-01", "category": HOSTILE}, Decimal("10.10"), Decimal("9.05")),
            ChangedFigure({"day": "2024-01-02", "category": None}, None, Decimal("0.00")),
        ],
    )
    marts = [
        MartDifference(
            "by_category", rows_before=1000, rows_after=1001, added=[("net", "numeric(18,2)")], changed=1,
            gone=[("gross", "numeric(18,2)")], retyped=[("units", "integer", "bigint")], texts={"note": 1},
            only_after=OneSide(7, [{"day": "2024-01-02", "category": None}]),
            numbers=[revenue, NumericColumn("units", Decimal(7), Decimal(7))],
        ),
        MartDifference("later", is_new=True, rows_after=3),
        MartDifference("by_month", keys=(["month"], ["month", "city"])),
        MartDifference("untouched", rows_before=5, rows_after=5),
    ]  # fmt: skip
    return ChangePreview(
        "feature", BaseCommit("main", Path(), "abcdef123456", "tree"), date(2024, 6, 28),
        ["int_a"], ["by_category", "int_a"], marts, ["Rows of raw.sales_fact changed."], 3.4,
    )  # fmt: skip


def test_report_says_what_changes_to_the_last_digit(shown: ChangePreview) -> None:
    text = as_markdown(shown)
    for line in (
        "Compared with main (abcdef1), as of 2024-06-28. The change touches `int_a`. Both versions of 2 models were "
        "built from the same rows, in 3 s.",
        "> Rows of raw.sales_fact changed.",
        "| `by_category` | 1 added, 1 gone, 1 retyped | 1,000 | 1,001 | 0 | 7 | 1 |",
        "| `later` | new mart | 0 | 3 | 0 | 0 | 0 |",
        "Equal in every row and column: `untouched`.",
        "- Column added: `net` numeric(18,2)",
        "- Column gone: `gross` numeric(18,2)",
        "- Column retyped: `units`, integer → bigint",
        "- Other values of `note` in 1 row",
        "Only after, 7 rows: 2024-01-02, (none); and 6 more",
        "| `revenue` | 1,234,567.10 | 1,234,566.05 | -1.05 | 2 |",
        "Columns of numbers without any difference, with their sums: `units` (7)",
        "| 2024-01-02, (none) | – | 0.00 | +0.00 |",
        "- Key before: `month`; after: `month`, `city`. Rows cannot be matched, so only counts and sums are compared",
        "The mart is new, with 3 rows.",
    ):
        assert line in text.splitlines(), line


def test_text_of_the_shop_is_no_markup_in_markdown_and_page(shown: ChangePreview) -> None:
    page = as_page(shown)
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt; | [x](http" in page
    assert "<img" not in page
    assert "<a " not in page
    assert page.count("<table>") == 3
    assert r"\<img src=x" in as_markdown(shown)

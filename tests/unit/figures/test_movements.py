"""What a movement says: names of members, sentences, and the headline."""

from datetime import date
from decimal import Decimal

import pytest

from ecommerce.figures.key_figures import ALL_FIGURES
from ecommerce.figures.movements import SPLITS, explain

DAY = date(2024, 3, 1)


def row(member: str | None, before: str, after: str, **values: object) -> dict:
    return {
        "dimension": "category", "is_small": False, "member_id": member, "member": member, "members": 1,
        "revenue_before": Decimal(before), "revenue_after": Decimal(after), **values,
    }  # fmt: skip


def category_of(*rows: dict, figure: str = "revenue"):
    return explain(figure, DAY, "day before", list(rows)).dimensions[0]


def test_every_figure_has_a_split_with_known_columns() -> None:
    assert SPLITS.keys() == ALL_FIGURES.keys()
    for split in SPLITS.values():
        for measure in filter(None, (split.amount, split.base)):
            assert f" as {measure}_before" in split.query
        assert split.query.count("%(day)s") >= 2
        assert "{" not in split.query


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("Toys", "100", "150"), row("Food", "80", "50")], "Mostly Toys (+50.00); against it Food (−30.00)."),
        ([row("Toys", "100", "50"), row("Food", "80", "90")], "Mostly Toys (−50.00); against it Food (+10.00)."),
        ([row("Toys", "0", "50")], "Mostly Toys (+50.00)."),
        ([row("a", "0", "5"), row("b", "5", "0")], "Up and down make up for each other: a (+5.00), b (−5.00)."),
        ([row("Toys", "50", "50")], "No category makes a difference."),
        ([], "No category makes a difference."),
        (
            [row(name, "0", str(amount)) for name, amount in zip("abcd", (4, 3, 2, 1), strict=True)],
            "Mostly a (+4.00), b (+3.00), c (+2.00).",
        ),
    ],
)
def test_sentence_names_the_largest_effects(rows: list[dict], sentence: str) -> None:
    assert category_of(*rows).sentence == sentence


def test_members_have_names_that_tell_them_apart() -> None:
    effects = category_of(
        row("Toys", "1", "2", member_id="T1"),
        row("Toys", "1", "4", member_id="T2"),
        row(None, "0", "7"),
        row(None, "0", "8", member_id="T3"),
        row(None, "0", "9", is_small=True, members=40),
        row("Nothing", "0", "0"),
    ).decomposition.effects
    assert [effect.name for effect in effects] == [
        "All smaller categories", "T3", "No category", "Toys (T2)", "Toys (T1)"
    ]  # fmt: skip
    assert effects[0].members == 40


def test_headline_says_value_difference_and_the_other_day() -> None:
    moved = explain("revenue", DAY, "year before", [row("Toys", "100", "150")])
    assert moved.headline == (
        "Revenue on 1 Mar 2024: 150.00, +50.00 (+50.0 %) against 3 Mar 2023, the same weekday a year before."
    )
    rows = [row("Toys", "0", "150", orders_before=0, orders_after=2)]
    average = explain("average_order_value", DAY, "day before", rows)
    assert average.headline == (
        "Average order value on 1 Mar 2024: 75.00; 29 Feb 2024, the day before: –. They cannot be compared."
    )
    assert average.dimensions[0].sentence == "Nothing can be compared."

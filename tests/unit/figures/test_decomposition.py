"""What members make of a difference adds up exactly, whatever the members are."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.figures.decomposition import Decomposition, Effect, Member, apportion, decompose

MONEY = st.decimals(0, 1_000_000, places=2)
COUNTS = st.integers(0, 1_000).map(Decimal)


def named(parts: list[Any]) -> list[Member]:
    return [Member(f"member {n}", *values) for n, values in enumerate(parts)]


sums = st.lists(st.tuples(MONEY, MONEY), max_size=30).map(named)
#: A numerator may be there without a base: a customer can buy what it has not viewed.
ratios = st.lists(st.tuples(MONEY, MONEY, COUNTS, COUNTS), min_size=1, max_size=30).map(named)


def ratio_of(members: list[Member], when: str) -> Fraction | None:
    base = sum(Fraction(getattr(member, f"base_{when}")) for member in members)
    return sum(Fraction(getattr(member, when)) for member in members) / base if base else None


@given(members=sums, n=st.integers(1, 10))
def test_effects_of_a_sum_are_the_differences_and_add_up(members: list[Member], n: int) -> None:
    result = decompose(members)
    assert result.before == sum(member.before for member in members)
    assert result.after == sum(member.after for member in members)
    differences = {member.name: member.after - member.before for member in members}
    assert {effect.name: effect.effect for effect in result.effects} == differences
    assert_shown_effects_add_up(result, n)


@given(members=ratios, n=st.integers(1, 10), factor=st.sampled_from([1, 100]))
def test_effects_of_a_ratio_add_up_to_the_cent(members: list[Member], n: int, factor: int) -> None:
    result = decompose(members, factor=factor)
    before, after = ratio_of(members, "before"), ratio_of(members, "after")
    if before is None or after is None:
        assert result.difference is None
        assert result.effects == ()
        return
    assert abs(Fraction(result.before or 0) - factor * before) <= Fraction(1, 200)
    assert abs(Fraction(result.after or 0) - factor * after) <= Fraction(1, 200)
    assert_shown_effects_add_up(result, n)
    for effect in result.effects:
        assert effect.rate_effect is not None
        assert effect.share_effect is not None
        assert effect.rate_effect + effect.share_effect == effect.effect
        if effect.before is None or effect.after is None:
            assert effect.rate_effect == 0
    # The way back is the same with other signs, but for the rounding: cents in the last place go to other members.
    back = {effect.name: effect.effect for effect in decompose(turned(members), factor=factor).effects}
    assert all(abs(back[effect.name] + effect.effect) <= Decimal("0.02") for effect in result.effects)


def turned(members: list[Member]) -> list[Member]:
    return [Member(m.name, m.after, m.before, m.base_after, m.base_before) for m in members]


def assert_shown_effects_add_up(result: Decomposition, n: int) -> None:
    assert sum(effect.effect for effect in result.effects) == result.difference
    shown = result.largest(n)
    assert sum(effect.effect for effect in shown) == result.difference
    assert sum(effect.members for effect in shown) == len(result.effects)
    assert len(shown) <= n + 1
    sizes = [abs(effect.effect) for effect in result.effects]
    assert sizes == sorted(sizes, reverse=True)
    others = [effect for effect in shown if effect.members > 1]
    assert all(effect.name == "Other" for effect in others)


@given(
    numerators=st.lists(st.integers(-1_000_000, 1_000_000), min_size=1, max_size=20),
    denominator=st.integers(1, 997),
    cents=st.integers(-1, 1),
)
def test_rounded_parts_add_up_and_are_within_a_cent(numerators: list[int], denominator: int, cents: int) -> None:
    values = [Fraction(numerator, denominator) for numerator in numerators]
    total = Decimal(round(sum(values) * 100) + cents).scaleb(-2)
    parts = apportion(numerators, denominator, total)
    assert sum(parts) == total
    if len(values) > 2:
        assert all(abs(Fraction(part) - value) < Fraction(2, 100) for part, value in zip(parts, values, strict=True))


def test_members_that_come_and_go_have_the_effect_of_their_share() -> None:
    members = [
        Member("stays", Decimal(600), Decimal(600), Decimal(6), Decimal(6)),
        Member("goes", Decimal(800), Decimal(0), Decimal(2), Decimal(0)),
        Member("comes", Decimal(0), Decimal(50), Decimal(0), Decimal(2)),
    ]
    result = decompose(members)
    # 1,400 / 8 = 175, and 650 / 8 = 81.25; their mean is 128.125.
    assert (result.before, result.after) == (Decimal("175.00"), Decimal("81.25"))
    effects = {effect.name: effect for effect in result.effects}
    # 0 − 800 / 8 + 128.125 × 2 / 8, and 50 / 8 − 128.125 × 2 / 8.
    assert effects["goes"].effect == Decimal("-67.97")
    assert effects["comes"].effect == Decimal("-25.78")
    assert effects["stays"].effect == 0
    assert (effects["goes"].is_gone, effects["comes"].is_new, effects["stays"].is_new) == (True, True, False)
    assert (effects["goes"].rate_effect, effects["goes"].after) == (0, None)


def test_rate_and_share_are_told_apart() -> None:
    """The rate of the one doubles, the other gets more orders at a rate below the mean."""
    result = decompose(
        [
            Member("rate", Decimal(100), Decimal(200), Decimal(1), Decimal(1)),
            Member("share", Decimal(10), Decimal(20), Decimal(1), Decimal(2)),
        ]
    )
    effects = {effect.name: effect for effect in result.effects}
    # 110 / 2 = 55 and 220 / 3 = 73.33; shares of "rate": 1/2 and 1/3, mean 5/12, times 100.
    assert result.difference == Decimal("18.33")
    assert effects["rate"].rate_effect == Decimal("41.67")
    assert effects["share"].rate_effect == 0
    # (2/3 − 1/2) × (10 − 64.1667)
    assert effects["share"].effect == Decimal("-9.03")


def test_single_other_member_is_shown_itself() -> None:
    effects = [Effect(str(n), Decimal(0), Decimal(n), Decimal(n)) for n in (3, 2, 1)]
    result = Decomposition(Decimal(0), Decimal(6), effects)
    assert [effect.name for effect in result.largest(2)] == ["3", "2", "1"]
    assert [(effect.name, effect.effect) for effect in result.largest(1)] == [("3", 3), ("Other", 3)]


def test_row_of_others_has_their_sums() -> None:
    first = Effect("first", Decimal(1), Decimal(90), Decimal(89))
    others = [
        Effect("less", Decimal(20), Decimal(13), Decimal(-7)),
        Effect("new", Decimal(0), Decimal(5), Decimal(5)),
        Effect("gone", Decimal(4), Decimal(0), Decimal(-4)),
    ]
    *_, row = Decomposition(Decimal(25), Decimal(108), [first, *others]).largest(1)
    assert (row.before, row.after, row.effect, row.rate_effect, row.members) == (24, 18, -6, None, 3)


def test_row_of_other_ratios_has_no_rates_and_the_sum_of_their_effects() -> None:
    first = Effect("first", Decimal(1), Decimal(9), Decimal(8), Decimal(8))
    others = [
        Effect("rate", Decimal(2), Decimal(3), Decimal(3), Decimal("2.5")),
        Effect("new", None, Decimal(5), Decimal(2), Decimal(0)),
        Effect("gone", Decimal(6), None, Decimal(-1), Decimal(0)),
    ]
    *_, row = Decomposition(Decimal(1), Decimal(13), [first, *others]).largest(1)
    assert (row.before, row.after, row.effect, row.rate_effect, row.members) == (None, None, 4, Decimal("2.5"), 3)


@pytest.mark.parametrize("members", [[], [Member("none", Decimal(0), Decimal(5), Decimal(0), Decimal(1))]])
def test_nothing_to_compare_has_no_effects(members: list[Member]) -> None:
    result = decompose(members)
    assert list(result.effects) == []
    assert result.difference == (None if members else 0)

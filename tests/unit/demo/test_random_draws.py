"""Laws that hold for the random values of the generator, whatever the seed."""

from datetime import date, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from include.demo.shop.generator.random_draws import Weighted, apportion, assign_changes, between_months

YEAR = [float(month) for month in (0, 2, 5, 10, 14, 18, 20, 19, 15, 10, 5, 2)]


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 100), min_size=1, max_size=60))
def test_apportion_parts_add_up_and_are_near_their_share(total: int, weights: list[float]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    assert all(abs(part - total * weight / whole) < 1 + 1e-6 for part, weight in zip(parts, weights, strict=True))


@given(st.dates(date(2000, 1, 1), date(2050, 12, 30)))
def test_between_months_has_no_jumps(day: date) -> None:
    step = between_months(day + timedelta(days=1), YEAR) - between_months(day, YEAR)
    assert abs(step) < 0.5
    assert min(YEAR) <= between_months(day, YEAR) <= max(YEAR)


@given(st.integers(0, 2**32), st.integers(1, 50))
def test_weighted_draw_skips_items_of_weight_zero(seed: int, draws: int) -> None:
    rng = Random(seed)
    items = Weighted(("never", "often", "also never"), (0, 1, 0))
    assert {items.draw(rng) for _ in range(draws)} == {"often"}


@given(st.integers(0, 2**32), st.integers(10, 500))
def test_assign_changes_gives_each_change_its_share(seed: int, count: int) -> None:
    changes = assign_changes(Random(seed), count, {"rare": 0.001, "common": 0.2})
    assert len(changes) == count
    assert changes.count("rare") == 1
    assert changes.count("common") == max(1, int(count * 0.2))

"""Which days or loads the check `rows_of_loads` counts: the newest in each run, the others in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.audit.load_checks import parts_of_run, parts_to_count

END = 1_000


@given(counts=st.lists(st.integers(0, 50), max_size=40), rows_at_once=st.integers(1, 120))
def test_parts_have_each_load_once_and_few_rows(counts: list[int], rows_at_once: int) -> None:
    rows = [(number + 1, count) for number, count in enumerate(counts)][::-1]
    parts = parts_to_count(rows, rows_at_once, 0, END)
    # Without a gap, from the newest to the oldest.
    assert (parts[0][1], parts[-1][0]) == (END, 0)
    assert [begin for begin, _ in parts[:-1]] == [end for _, end in parts[1:]]
    for begin, end in parts:
        inside = [(number, count) for number, count in rows if begin <= number < end]
        assert sum(count for _, count in inside[:-1]) < rows_at_once


@given(counts=st.lists(st.integers(0, 50), max_size=40), rows_at_once=st.integers(1, 120), turn=st.integers(0, 500))
def test_each_part_has_its_turn(counts: list[int], rows_at_once: int, turn: int) -> None:
    parts = parts_to_count([(number + 1, count) for number, count in enumerate(counts)][::-1], rows_at_once, 0, END)
    turns = [parts_of_run(parts, turn + n) for n in range(max(len(parts) - 1, 1))]
    assert {counted[0] for counted in turns} == {parts[0]}
    assert all(len(counted) <= 2 for counted in turns)
    assert sorted({part for counted in turns for part in counted}) == sorted(parts)


@pytest.mark.parametrize(
    ("wanted", "counted"),
    [
        ([], [0, 2]),
        ([(0, 1)], [0, 2, 4]),
        ([(2, 3), (9, 10)], [0, 2, 3]),
        ([(1, 3)], [0, 2, 3, 4]),
        ([(0, END)], [0, 1, 2, 3, 4]),
    ],
)
def test_what_is_wanted_is_counted_too(wanted: list[tuple[int, int]], counted: list[int]) -> None:
    parts = [(8, END), (6, 8), (4, 6), (2, 4), (0, 2)]
    assert parts_of_run(parts, 1, wanted) == [parts[place] for place in counted]


def test_few_rows_are_one_part() -> None:
    assert parts_to_count([(2, 5), (1, 5)], 10, 0, END) == [(0, END)]
    assert parts_to_count([], 10, 0, END) == [(0, END)]

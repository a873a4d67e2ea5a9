"""The benchmark of the patches: its table, and what it calls worth keeping."""

from benchmarks.patches import Measure, table


def test_table_keeps_a_patch_that_saves_more_than_a_tenth_of_a_run_or_of_a_backfill() -> None:
    on = Measure([8.0, 10.0, 9.0], [20.0])
    without = {
        "slow_run": Measure([10.0, 10.5, 10.0], [20.0]),
        "slow_backfill": Measure([9.0], [10.0]),
        "useless": Measure([9.8, 9.9, 9.7], [19.0]),
    }
    lines = table(on, without).splitlines()[2:]
    assert lines == [
        "| `slow_run` | 9.0 | 10.0 | 1.11 | 20.0 | 20.0 | 1.00 | yes |",
        "| `slow_backfill` | 9.0 | 9.0 | 1.00 | 20.0 | 10.0 | 2.00 | yes |",
        "| `useless` | 9.0 | 9.8 | 1.09 | 20.0 | 19.0 | 1.05 | no |",
    ]


def test_table_without_backfills_has_no_rates() -> None:
    (line,) = table(Measure([8.0]), {"one": Measure([8.0])}).splitlines()[2:]
    assert line == "| `one` | 8.0 | 8.0 | 1.00 |  |  |  | no |"

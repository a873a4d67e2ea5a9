"""Compare the marts of a warehouse with those expected from its source files; exit code 1 if one differs."""

import argparse
import sys
from datetime import date
from pathlib import Path
from zoneinfo import available_timezones

from tests.oracle.compare import compare_marts
from tests.oracle.compute import TimeZones


def time_zone(name: str) -> str:
    if name not in available_timezones():
        raise argparse.ArgumentTypeError(f"{name!r} is no time zone such as Europe/Berlin")
    return name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the shop's CSV files; only sales_fact.csv must exist")
    parser.add_argument(
        "--from", dest="first", type=date.fromisoformat, required=True, help="first day loaded, in the shop's time zone"
    )
    parser.add_argument(
        "--to", dest="last", type=date.fromisoformat, required=True, help="last day loaded, in the shop's time zone"
    )
    parser.add_argument("--dsn", required=True, help="the warehouse, e.g. postgresql://reader@host/warehouse")
    for option, meaning in (
        ("--time-zone", "the shop's time zone, such as Europe/Berlin"),
        ("--source-time-zone", "the time zone of a created_at that has none of its own"),
    ):
        parser.add_argument(option, type=time_zone, default="UTC", metavar="ZONE", help=f"{meaning} (default: UTC)")
    arguments = parser.parse_args()

    comparisons = compare_marts(
        arguments.folder,
        arguments.first,
        arguments.last,
        arguments.dsn,
        TimeZones(shop=arguments.time_zone, source=arguments.source_time_zone),
    )
    print(f"{'mart':<34} {'rows expected':>14} {'rows found':>14}   equal?")
    for comparison in comparisons:
        outcome = "yes" if comparison.is_equal else f"no: {comparison.problems}"
        print(f"{comparison.mart:<34} {comparison.rows_expected:>14,} {comparison.rows_found:>14,}   {outcome}")
    for comparison in comparisons:
        for difference in comparison.differences:
            print(f"\n{difference}")
    return 0 if all(comparison.is_equal for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Compare the marts of a warehouse with those expected from its source files; exit code 1 if one differs."""

import argparse
import sys
from datetime import date
from pathlib import Path

from tests.oracle.compare import compare_marts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the shop's CSV files; only sales_fact.csv must exist")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first day loaded")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, help="last day loaded")
    parser.add_argument("--dsn", required=True, help="the warehouse, e.g. postgresql://reader@host/warehouse")
    arguments = parser.parse_args()

    comparisons = compare_marts(arguments.folder, arguments.first, arguments.last, arguments.dsn)
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

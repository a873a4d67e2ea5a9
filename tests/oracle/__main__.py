"""Compare a warehouse's marts with those its source files say there must be; exit code 1 if any differs."""

import argparse
import sys
from datetime import date
from pathlib import Path

from tests.oracle.compare import judge


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("folder", type=Path, help="the seven source files")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first day loaded")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, help="last day loaded")
    parser.add_argument("--dsn", required=True, help="the warehouse, e.g. postgresql://reader@host/warehouse")
    arguments = parser.parse_args()

    verdicts = judge(arguments.folder, arguments.first, arguments.last, arguments.dsn)
    print(f"{'mart':<34} {'rows expected':>14} {'rows found':>14}   equal?")
    for verdict in verdicts:
        outcome = "yes" if verdict.is_equal else f"no: {verdict.rows_different:,} rows differ"
        print(f"{verdict.mart:<34} {verdict.rows_expected:>14,} {verdict.rows_found:>14,}   {outcome}")
    for verdict in verdicts:
        for difference in verdict.differences:
            print(f"\n{difference}")
    return 0 if all(verdict.is_equal for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

"""
Run the tests of this folder and print the table of effects: ``python -m tests.truth``.

With ``ECOMMERCE_TEST_LONG=1`` also for the shops of two and three years.
"""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent), *sys.argv[1:]]))

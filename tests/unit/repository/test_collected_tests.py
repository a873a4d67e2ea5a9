"""That a run of all tests has all tests."""

from fnmatch import fnmatch
from itertools import chain

import pytest

from include.demo.state import ROOT


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """pytest itself leaves out folders of some names, such as "build", without a word."""
    names = {*chain.from_iterable(path.relative_to(ROOT).parts[:-1] for path in ROOT.glob("tests/**/test_*.py"))}
    assert "build" in names
    left_out = pytestconfig.getini("norecursedirs")
    assert not {name for name in names for pattern in left_out if fnmatch(name, pattern)}

"""The shop's targets: what the file may say, and what a mistake in it is called."""

from datetime import date
from decimal import Decimal

import pytest

from ecommerce.common.errors import ShopError
from ecommerce.common.targets import ALL_CATEGORIES, Target, targets
from tests.integration.support import set_shop

HEAD = "month,category,revenue\n"
JANUARY, FEBRUARY = date(2024, 1, 1), date(2024, 2, 1)


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch):
    return set_shop(monkeypatch) / "targets.csv"


def test_shop_without_file_has_no_targets(file) -> None:
    assert targets() == ()


def test_targets_are_read_with_a_sum_where_a_month_has_no_total(file) -> None:
    file.write_text(f"\ufeff{HEAD}2024-01, Tea ,10.50\n2024-01,Coffee,20\n\n2024-02-01,,90.00\n2024-02,Tea,30\n")
    assert set(targets()) == {
        Target(JANUARY, "Tea", Decimal("10.50")),
        Target(JANUARY, "Coffee", Decimal(20)),
        Target(JANUARY, ALL_CATEGORIES, Decimal("30.50")),
        Target(FEBRUARY, ALL_CATEGORIES, Decimal("90.00")),
        Target(FEBRUARY, "Tea", Decimal(30)),
    }


def test_changed_file_is_read_again(file) -> None:
    file.write_text(f"{HEAD}2024-01,,1\n")
    assert [target.revenue for target in targets()] == [1]
    file.write_text(f"{HEAD}2024-01,,22\n")
    assert [target.revenue for target in targets()] == [22]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"targets\.csv, line 1: the columns are missing; write month,category,revenue"),
        ("month,revenue\n", "line 1: the columns are month, revenue; write month,category,revenue"),
        (f"{HEAD}2024-01,Tea\n", "line 2: it has 2 columns instead of 3"),
        (f"{HEAD}2024-01,,1\n2024-13,,1\n", "line 3: month is '2024-13'; write a month such as 2024-01"),
        (f"{HEAD}2024-01-02,,1\n", "line 2: month is '2024-01-02'"),
        (f"{HEAD}1969-12,,1\n", "line 2: month is '1969-12'"),
        (f'{HEAD}2024-01,,"1,000"\n', "line 2: revenue is '1,000'; write an amount such as"),
        (f"{HEAD}2024-01,,-1\n", "line 2: revenue is '-1'"),
        (f"{HEAD}2024-01,,1.005\n", r"line 2: revenue is '1\.005'"),
        (f"{HEAD}2024-01,,NaN\n", "line 2: revenue is 'NaN'"),
        (f"{HEAD}2024-01,Tea,1\n2024-01,Tea,2\n", "line 3: Tea has a target for 2024-01 already"),
        (f"{HEAD}2024-01,,1\n2024-01,All categories,2\n", "line 3: All categories has a target"),
        (HEAD + "x,,1\n" * 7, "line 6: month is 'x'.*; and 2 more"),
        (f'{HEAD}2024-01,"Tea,1\n', "is no CSV file in UTF-8"),
    ],
)
def test_mistake_is_named_with_its_line(file, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ShopError, match=message):
        targets()


def test_file_in_another_encoding_is_named(file) -> None:
    file.write_bytes(f"{HEAD}2024-01,Caf\xe9,1\n".encode("latin-1"))
    with pytest.raises(ShopError, match=r"targets\.csv is no CSV file in UTF-8"):
        targets()

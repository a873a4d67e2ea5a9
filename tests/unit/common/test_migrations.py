"""The files of `include/sql/migrations`, and how they are read."""

import re
from pathlib import Path

import pytest

from ecommerce.common.database_schema import SQL_FOLDER
from ecommerce.common.migrations import read_migrations

FOLDER = SQL_FOLDER / "migrations"


def test_numbers_have_no_gap_and_texts_are_plain() -> None:
    migrations = read_migrations(FOLDER)
    assert list(migrations) == list(range(1, len(migrations) + 1))
    for migration in migrations.values():
        # A placeholder of the profile would be applied as it stands.
        assert not re.search(r":'\w+'", migration.script), migration.name
        # The owner of raw may write no code.
        assert migration.schema != "raw" or not re.search(r"\bdo \$|create (or replace )?function", migration.script)


def test_table_that_a_former_warehouse_lacks_is_left_to_the_script() -> None:
    """Every file may meet a warehouse that has not got the table yet."""
    for migration in read_migrations(FOLDER).values():
        for statement in re.findall(r"^alter table .*$", migration.script, re.MULTILINE):
            assert statement.startswith("alter table if exists "), f"{migration.name}: {statement}"


@pytest.mark.parametrize("name", ["4_raw_a.sql", "0004_core_a.sql", "0004_raw.sql", "0004_raw_A.sql"])
def test_file_with_another_name_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("select 1")
    with pytest.raises(ValueError, match=re.escape(name)):
        read_migrations(tmp_path)


def test_second_file_of_a_number_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0004_raw_a.sql").write_text("select 1")
    (tmp_path / "0004_ops_b.sql").write_text("select 1")
    with pytest.raises(ValueError, match="has the number of 0004_ops_b"):
        read_migrations(tmp_path)

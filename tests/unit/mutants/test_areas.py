"""The table of areas, the known equivalent mutants, and what a sample is."""

import pytest

from include.demo.state import ROOT
from tests.mutants.areas import Equivalent, draw, mutants_of, read_areas, read_equivalents
from tests.mutants.mutant import Mutant

AREAS = read_areas()
SOURCE = "def f(a):\n    if a < 1:\n        return 2\n    return 3\n\n\ndef g(a):\n    if a < 1:\n        return 2\n"


def mutants() -> list[Mutant]:
    return list(mutants_of("a.py", SOURCE))


def test_each_area_has_files_and_its_tests_exist() -> None:
    for area in AREAS.values():
        assert area.files, area.name
        assert [test for test in area.tests if not (ROOT / test.partition("::")[0]).exists()] == []


def test_each_module_model_and_sql_file_is_in_one_area() -> None:
    listed = [path for area in AREAS.values() for path in area.files]
    assert len(listed) == len(set(listed))
    code = [ROOT / "plugins" / "ecommerce", ROOT / "plugins" / "dbt_triggerer", ROOT / "plugins" / "shop_pages"]
    code += [ROOT / "include" / "dbt" / "models", ROOT / "include" / "sql"]
    there = {
        str(path.relative_to(ROOT)) for folder in code for path in folder.rglob("*") if path.suffix in (".py", ".sql")
    }
    # It only makes faults for the tests.
    without = {"plugins/ecommerce/common/fault_points.py"}
    missing = {path for path in there - set(listed) - without if "/workers/" not in path}
    assert missing == {"plugins/ecommerce/__init__.py"}


def test_each_equivalent_mutant_is_one_and_has_a_reason() -> None:
    for entry in read_equivalents():
        source = (ROOT / entry.path).read_text(encoding="utf-8")
        assert any(entry.is_like(mutant) for mutant in mutants_of(entry.path, source)), entry
        assert len(entry.reason) > 10, entry


def test_sample_is_the_same_for_the_same_seed() -> None:
    first, second, other = (draw(mutants(), 4, seed)[0] for seed in (1, 1, 2))
    assert [mutant.id for mutant in first] == [mutant.id for mutant in second]
    assert [mutant.id for mutant in first] != [mutant.id for mutant in other]


def test_sample_has_each_line_before_a_second_mutant_of_one() -> None:
    lines = {mutant.line for mutant in mutants() if mutant.is_valid}
    drawn, _ = draw(mutants(), len(lines), 1)
    assert {mutant.line for mutant in drawn} == lines


def test_all_mutants_are_drawn_without_a_size() -> None:
    drawn, _ = draw(mutants(), None, 1)
    assert {mutant.id for mutant in drawn} == {mutant.id for mutant in mutants() if mutant.is_valid}


def test_equivalent_mutant_is_left_out_in_its_function_only() -> None:
    entry = Equivalent("a.py", "f", "if a < 1:", "if a <= 1:", "a is never 1")
    drawn, left_out = draw(mutants(), None, 1, [entry])
    assert left_out == 1
    assert [mutant.place for mutant in drawn if mutant.after == "if a <= 1:"] == ["g"]


@pytest.mark.parametrize(("line", "place"), [(3, "first"), (6, "second"), (9, "ops.a"), (12, "only_claimed")])
def test_place_of_sql_is_its_cte_table_or_macro(line: int, place: str) -> None:
    source = (
        "with first as (\n\n    select 1\n),\nsecond as (\n    select 2\n)\n"
        "create table if not exists ops.a (\n    b int\n);\n{% macro only_claimed(a) -%}\n    where true\n"
    )
    assert Mutant("a.sql", "", line, source, lambda: source).place == place

"""The mistakes that are made in Python, and in the SQL that it has."""

from textwrap import dedent

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

from tests.mutants.mutant import Mutant
from tests.mutants.python_mutants import OPERATORS, DropKeywordArgument, DropStatement, ReturnNone, mutants_of_python


def mutants(source: str) -> list[Mutant]:
    return [mutant for mutant in mutants_of_python("a.py", dedent(source)) if mutant.is_valid]


def changes(source: str) -> list[tuple[str, str, str]]:
    return sorted((mutant.operator, mutant.before, mutant.after) for mutant in mutants(source))


@pytest.mark.parametrize("operator", [DropStatement, ReturnNone, DropKeywordArgument])
def test_own_operator_follows_its_examples(operator: type[Operator]) -> None:
    for example in operator.examples():
        assert mutate_code(example.pre_mutation_code, operator(), example.occurrence) == example.post_mutation_code


def test_decorated_functions_context_managers_and_coroutines_are_changed() -> None:
    source = """
        @retry
        async def a(b):
            async with c() as d:
                await d.close()
            if b < 1:
                raise E
        """
    found = changes(source)
    assert ("DropStatement", "await d.close()", "pass") in found
    assert ("DropStatement", "raise E", "pass") in found
    assert ("ReplaceComparisonOperator_Lt_LtE", "if b < 1:", "if b <= 1:") in found
    assert {mutant.place for mutant in mutants(source)} == {"a"}


def test_what_no_test_is_for_stays() -> None:
    source = '''
        """select a from b where c < 1"""
        if TYPE_CHECKING:
            from a import b
        @dataclass(frozen=True)
        class A:
            pass
        def f(a: int | None, *, b) -> b | None:
            zip(a, b, strict=True)
            """select a from b where c < 1"""
            log.info("a", extra=1)
            c: d | e
        '''
    assert changes(source) == [("DropStatement", "zip(a, b, strict=True)", "pass")]


def test_index_of_the_first_column_becomes_only_that_of_the_second() -> None:
    assert changes("a[0]\n") == [("NumberReplacer", "a[0]", "a[ 1]")]
    assert {after for _, _, after in changes("f(0)[2]\n") if "[" in after} == {
        "f( 1)[2]", "f( -1)[2]", "f(0)[ 3]", "f(0)[ 1]",
    }  # fmt: skip


def test_operators_of_cosmic_ray_have_each_an_example_that_they_change() -> None:
    for operator in OPERATORS.values():
        for example in operator.examples():
            if example.pre_mutation_code != example.post_mutation_code:
                assert mutate_code(example.pre_mutation_code, operator, example.occurrence)


@pytest.mark.parametrize(
    "text",
    [
        'execute("""\n    select a\n    from b where c < d\n""")',
        'execute(f"select a from {table} where c < d")',
        'execute("delete from a where b is null")',
        'f"{a}.b >= %({c})s::date and {a}.d"',
        'ORDER = "a.b desc, a.c"',
        'PART = """\n    a.b = c\n    and not exists (select from d)\n"""',
    ],
)
def test_queries_in_texts_are_changed(text: str) -> None:
    assert any(" " in operator and operator.islower() for operator, _, _ in changes(text))


@pytest.mark.parametrize(
    "text",
    [
        'raise E("the rows from a and b are not in c")',
        'a = "where is it and why"',
        'a = ("select a from b where c < d"\n     " and e < f")',
    ],
)
def test_messages_and_pieces_of_texts_are_no_queries(text: str) -> None:
    assert not any(operator.islower() for operator, _, _ in changes(text))


def test_place_of_query_is_found_behind_other_characters() -> None:
    source = 'def f():\n    é = "–"; execute("select ü from a where b < c")\n'
    assert 'execute("select ü from a where b <= c")' in " ".join(after for _, _, after in changes(source))


def test_mutant_that_cannot_be_compiled_is_not_valid() -> None:
    assert not Mutant("a.py", "", 1, "a = 1", lambda: "a = (1").is_valid
    assert not Mutant("a.py", "", 1, "a = 1", lambda: "a = 1").is_valid
    assert Mutant("a.sql", "", 1, "a = 1", lambda: "a = (1").is_valid

"""What the messages of dbt show in a task's log."""

from dbt_triggerer.invocation import without_rows


def test_message_of_dbt_shows_no_row_that_breaks_a_constraint() -> None:
    message = (
        'Database Error in model m\n  null value in column "x" violates not-null constraint\n'
        "  DETAIL:  Failing row contains (C1, Anna (B), a@b.c\n), 1).\n  compiled code at m.sql"
    )
    assert without_rows(message) == (
        'Database Error in model m\n  null value in column "x" violates not-null constraint\n'
        "  DETAIL:  Failing row contains (not shown).\n  compiled code at m.sql"
    )
    assert without_rows("OK created table (12 rows)") == "OK created table (12 rows)"

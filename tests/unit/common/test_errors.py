"""`hide_values`: what a task's log shows of errors has no values of rows."""

from ecommerce.common.errors import WarehouseError, hide_values

SAID = "duplicate key\nDETAIL:  Failing row contains (C1, Anna)."
SHOWN = "duplicate key\nDETAIL:  Failing row contains (not shown)."


def test_values_are_hidden_in_an_error_its_cause_and_what_it_was_raised_beside() -> None:
    beside, cause, error = ValueError(SAID), KeyError(SAID, 3), WarehouseError("the load failed", SAID)
    cause.__context__ = beside
    error.__cause__ = cause
    hide_values(error)
    assert error.args == ("the load failed", SHOWN)
    assert cause.args == (SHOWN, 3)
    assert beside.args == (SHOWN,)

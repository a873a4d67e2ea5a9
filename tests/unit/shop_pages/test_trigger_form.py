"""The trigger form: which field a param of a DAG becomes, what a filled-in field means, and what it takes."""

from typing import Any

import pytest
from starlette.datastructures import FormData

from shop_pages.airflow_access import DagParam, InvalidParams
from shop_pages.trigger_form import FormField, _field


def field_of(schema: dict[str, Any], values: dict[str, Any] | None = None, default: Any = None) -> FormField:
    return _field(DagParam("start_date", default, "", schema), values or {})


@pytest.mark.parametrize(
    ("schema", "widget", "choices"),
    [
        ({}, "text", ()),
        ({"type": "string", "format": "date"}, "date", ()),
        ({"type": ["null", "string"], "format": "date"}, "date", ()),
        ({"type": "boolean"}, "check", ()),
        ({"type": ["null", "integer"]}, "number", ()),
        ({"type": "number"}, "number", ()),
        ({"type": "string", "enum": ["a", "b"]}, "choice", ("a", "b")),
        ({"type": "array", "items": {"enum": ["a"]}, "examples": ["b"]}, "checks", ("a",)),
        ({"type": ["null", "array"], "examples": ["b"]}, "checks", ("b",)),
        ({"type": "string", "examples": ["b"]}, "text", ()),
    ],
)
def test_widget_follows_the_type_of_the_param(schema: dict, widget: str, choices: tuple) -> None:
    field = field_of(schema)
    assert (field.widget, field.choices) == (widget, choices)


def test_title_and_description_have_defaults() -> None:
    assert (field_of({}).title, field_of({}).description) == ("Start date", "")
    field = field_of({"title": "First day", "description": "of the window"})
    assert (field.title, field.description) == ("First day", "of the window")


@pytest.mark.parametrize(
    ("schema", "given", "value"),
    [
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "On", True),
        ({"type": "boolean"}, "1", True),
        ({"type": "boolean"}, "0", False),
        ({"type": "boolean"}, "false", False),
        ({"type": "array"}, "a,,b", ["a", "b"]),
        ({"type": "array"}, "", []),
        ({"type": "string"}, "a,b", "a,b"),
    ],
)
def test_value_of_an_address_gets_the_type_of_the_field(schema: dict, given: str, value: Any) -> None:
    assert field_of(schema, {"start_date": given}).value == value


def test_field_without_a_value_has_the_default() -> None:
    assert field_of({"type": "boolean"}, default=True).value is True
    assert field_of({"type": "array"}, default=["a"]).value == ["a"]
    assert field_of({"type": "boolean"}, {"other": "false"}, default=True).value is True


@pytest.mark.parametrize(
    ("schema", "entered", "value"),
    [
        ({"type": "boolean"}, [("start_date", "on")], True),
        ({"type": "boolean"}, [], False),
        ({"type": "array"}, [("start_date", "a"), ("start_date", "b"), ("other", "c")], ["a", "b"]),
        ({"type": "integer"}, [("start_date", " -12 ")], -12),
        ({"type": "number"}, [("start_date", "1.5")], 1.5),
        ({"type": "number"}, [("start_date", "")], None),
        ({"type": "string"}, [("start_date", " a ")], "a"),
        ({"type": "string"}, [("start_date", " ")], None),
        ({"type": "string"}, [], None),
        ({"type": "string"}, [("start_date", "12")], "12"),
    ],
)
def test_entered_value_gets_the_type_of_the_param(schema: dict, entered: list, value: Any) -> None:
    parsed = field_of(schema).parse(FormData(entered))
    assert parsed == value
    assert type(parsed) is type(value)


def test_text_that_is_no_number_is_refused_with_the_name_of_the_field() -> None:
    with pytest.raises(InvalidParams, match="Start date: 'many' is not a number"):
        field_of({"type": "integer"}).parse(FormData([("start_date", "many")]))


def field_with(widget: str) -> FormField:
    return FormField("field", "A field", "", widget, (), None)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-Infinity", "1e400", "²", "9" * 30, "9" * 400, "9" * 5_000, "1\0", "x"]
)
def test_number_that_json_or_the_database_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams, match="A field"):
        field_with("number").parse(FormData({"field": text}))


@pytest.mark.parametrize(("text", "value"), [("-7", -7), ("0.5", 0.5), (" 12 ", 12), ("", None)])
def test_number_is_taken_in_its_own_type(text: str, value: Any) -> None:
    assert field_with("number").parse(FormData({"field": text})) == value


@pytest.mark.parametrize("widget", ["text", "date", "choice", "checks"])
def test_text_that_the_database_does_not_store_is_refused(widget: str) -> None:
    with pytest.raises(InvalidParams, match="A field has a character"):
        field_with(widget).parse(FormData([("field", "good"), ("field", "a\0b")]))

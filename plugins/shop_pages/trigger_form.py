"""
The trigger form of a DAG, filled in by an address.

Airflow's own form cannot be filled in by an address (3.3 can only repeat the values of an earlier run). So this form
has the same fields, built from the DAG's params, and Airflow validates the values as it does for its own form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecommerce.common.personal_data import ERASE_DAG
from ecommerce.extract.texts import storable
from shop_pages.airflow_access import DagParam, InvalidParams, dag_params
from shop_pages.limits import WAREHOUSE_DAG

ROLLBACK_DAG = "rollback_publication"
REPLAY_DAG = "replay_quarantine"

#: DAGs whose trigger form the pages fill in.
FORM_DAGS = (WAREHOUSE_DAG, ROLLBACK_DAG, REPLAY_DAG, ERASE_DAG)


@dataclass(frozen=True)
class FormField:
    """One param of a DAG as a field of a form."""

    name: str
    title: str
    description: str
    widget: str  # date, check, checks, choice, number, text
    choices: tuple[Any, ...]
    value: Any

    def parse(self, form: Any) -> Any:
        """
        The value that the user has entered, in the type of the param; null for an empty field.

        :raises InvalidParams: text where the param is a number, or one that no database stores
        """
        if self.widget == "check":
            return form.get(self.name) is not None
        if not all(storable(str(entry)) for entry in form.getlist(self.name)):
            raise InvalidParams(f"{self.title} has a character that no database stores")
        if self.widget == "checks":
            return form.getlist(self.name)
        text = str(form.get(self.name, "")).strip()
        return self._number(text) if self.widget == "number" and text else text or None

    def _number(self, text: str) -> float:
        try:
            number = int(text) if text.lstrip("-").isdecimal() else float(text)
        except ValueError:
            number = math.nan
        # JSON has no other numbers, and Airflow's database no longer ones.
        if not abs(number) < 2**63:
            raise InvalidParams(f"{self.title}: {text[:100]!r} is not a number")
        return number


@dataclass(frozen=True)
class TriggerForm:
    """The trigger form of a DAG."""

    dag_id: str
    fields: tuple[FormField, ...]
    is_paused: bool


def build_form(dag_id: str, values: Mapping[str, Any]) -> TriggerForm:
    """
    The form of a DAG; a field without an entry in ``values`` has the param's default.

    :raises UnknownDag: Airflow has no such DAG
    """
    params, is_paused = dag_params(dag_id)
    return TriggerForm(dag_id, tuple(_field(param, values) for param in params), is_paused)


def _field(param: DagParam, values: Mapping[str, Any]) -> FormField:
    schema = param.schema
    choices = tuple(schema.get("enum") or (schema.get("items") or {}).get("enum") or ())
    widget = _widget(schema, has_choices=bool(choices))
    if widget == "checks":
        choices = choices or tuple(schema.get("examples") or ())
    return FormField(
        name=param.name,
        title=schema.get("title") or param.name.replace("_", " ").capitalize(),
        description=param.description or schema.get("description") or "",
        widget=widget,
        choices=choices,
        value=_field_value(widget, values.get(param.name, param.default)),
    )


def _widget(schema: Mapping[str, Any], *, has_choices: bool) -> str:
    types = schema.get("type", "string")
    types = {types} if isinstance(types, str) else set(types)
    if "boolean" in types:
        return "check"
    if "array" in types:
        return "checks"
    if has_choices:
        return "choice"
    if schema.get("format") == "date":
        return "date"
    return "number" if types & {"integer", "number"} else "text"


def _field_value(widget: str, value: Any) -> Any:
    """A value from an address, which is a text, in the type of the widget."""
    if widget == "check" and isinstance(value, str):
        return value.lower() in ("1", "true", "on", "yes")
    if widget == "checks" and isinstance(value, str):
        return [part for part in value.split(",") if part]
    return value

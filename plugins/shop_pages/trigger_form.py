"""
A DAG's trigger form, filled in, and the run that it starts.

Airflow's own form cannot be filled in by an address (3.3 only repeats the values of an earlier run), so this is one of
the same fields, made from the DAG's params. Airflow judges the values, as it does for its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class NoSuchDag(Exception):
    """Airflow does not know the DAG, or it is gone."""


class ValuesRefused(Exception):
    """Airflow does not take the values; the message says why."""


@dataclass(frozen=True)
class Field:
    """One param of a DAG as a field of a form."""

    name: str
    title: str
    description: str
    widget: str  # date, check, checks, choice, number, text
    choices: tuple[Any, ...]
    value: Any
    default: Any

    def given(self, form: Any) -> Any:
        """
        What someone filled in, as the DAG wants it; an empty field is null.

        :raises ValuesRefused: a number that is none
        """
        if self.widget == "check":
            return form.get(self.name) is not None
        if self.widget == "checks":
            return form.getlist(self.name)
        text = str(form.get(self.name, "")).strip()
        if self.widget == "number" and text:
            try:
                return int(text) if text.lstrip("-").isdigit() else float(text)
            except ValueError:
                raise ValuesRefused(f"{self.title}: {text!r} is not a number") from None
        return text or None


@dataclass(frozen=True)
class Form:
    """A DAG's trigger form."""

    dag_id: str
    fields: tuple[Field, ...]
    is_paused: bool


def is_known(dag_id: str) -> bool:
    """Whether Airflow has the DAG."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        return model is not None and not model.is_stale


def form_of(dag_id: str, values: Mapping[str, Any]) -> Form:
    """
    The form, its fields holding ``values`` where there is one, and the DAG's own defaults elsewhere.

    :raises NoSuchDag: Airflow does not know it
    """
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        dag = SerializedDagModel.get_dag(dag_id, session=session) if model and not model.is_stale else None
        if model is None or dag is None:
            raise NoSuchDag(f"Airflow does not know the DAG {dag_id!r}.")
        fields = tuple(_field(name, dag.params.get_param(name), values) for name in dag.params)
        return Form(dag_id, fields, bool(model.is_paused))


def _field(name: str, param: Any, values: Mapping[str, Any]) -> Field:
    schema = param.schema or {}
    kinds = schema.get("type", "string")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    choices = tuple(schema.get("enum") or (schema.get("items") or {}).get("enum") or ())
    if "boolean" in kinds:
        widget = "check"
    elif "array" in kinds:
        widget = "checks"
        choices = choices or tuple(schema.get("examples") or ())
    elif choices:
        widget = "choice"
    elif schema.get("format") == "date":
        widget = "date"
    else:
        widget = "number" if kinds & {"integer", "number"} else "text"
    default = param.value
    value = values.get(name, default)
    if widget == "check" and isinstance(value, str):
        value = value.lower() in ("1", "true", "on", "yes")
    if widget == "checks" and isinstance(value, str):
        value = [part for part in value.split(",") if part]
    return Field(
        name=name,
        title=schema.get("title") or name.replace("_", " ").capitalize(),
        description=param.description or schema.get("description") or "",
        widget=widget,
        choices=choices,
        value=value,
        default=default,
    )


def start(dag_id: str, values: Mapping[str, Any], *, user: str, unpause: bool) -> str:
    """
    Start a run as its own trigger form would; its run_id.

    :raises NoSuchDag: Airflow does not know the DAG
    :raises ValuesRefused: Airflow does not take the values
    """
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import DagNotFound
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    try:
        run = trigger_dag(
            dag_id,
            conf=dict(values),
            triggered_by=DagRunTriggeredByType.UI,
            triggering_user_name=user,
        )
    except DagNotFound as error:
        raise NoSuchDag(f"Airflow does not know the DAG {dag_id!r}.") from error
    except ValueError as error:  # ParamValidationError is one
        raise ValuesRefused(str(error)) from error
    if run is None:
        raise NoSuchDag(f"Airflow does not know the DAG {dag_id!r}.")
    run_id = str(run.run_id)
    if unpause:
        with create_session(scoped=False) as session:
            model = session.get(DagModel, dag_id)
            if model is not None:
                model.is_paused = False
    return run_id

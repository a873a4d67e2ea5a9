"""
Whether lineage events are sent, and the hooks of the tasks that send them.

OpenLineage's own environment variables say where to (docs/telemetry.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

#: One of these turns lineage on.
VARIABLES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")


def is_on() -> bool:
    """Whether the environment says where to send lineage events."""
    return any(map(os.environ.get, VARIABLES)) and os.environ.get("OPENLINEAGE_DISABLED", "").lower() != "true"


def load_hooks(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """
    Arguments of an extract task, by which it reports its load; none while lineage is off.

    :param defaults: the default arguments of the DAG
    """
    if not is_on():
        return {}
    from ecommerce.telemetry.lineage_events import report_failed_load, report_load

    return {
        "post_execute": report_load,
        "on_failure_callback": [*defaults["on_failure_callback"], report_failed_load],
    }


def build_hook() -> Callable[[Context, Any], None] | None:
    """What a task of dbt calls after it has run, to report its models; None while lineage is off."""
    if not is_on():
        return None
    from ecommerce.telemetry.lineage_events import report_build

    return report_build

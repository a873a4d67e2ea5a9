"""
What the shop's tasks import, loaded once before workers are forked. Off with ``ECOMMERCE_WARM_WORKERS=off``.

How and why stands in `dbt_triggerer/warm_workers.py`.
"""

from __future__ import annotations

import os

from dbt_triggerer import warm_up as warm_up_workers
from ecommerce.build.dbt_project import DBT_PROJECT

#: The operators of the DAGs, besides those of the dbt task group.
MODULES = (
    "ecommerce.build.warehouse_group",
    "ecommerce.build.claim_dirty_dates",
    "ecommerce.load.extract_source",
    "ecommerce.audit.quality_check",
    "ecommerce.publish.refresh_marts",
    "ecommerce.extract.resolve_window",
)


def is_wanted() -> bool:
    """Whether the setting leaves warm workers on."""
    return os.environ.get("ECOMMERCE_WARM_WORKERS", "on").lower() not in ("off", "0", "false", "no")


def warm_up() -> None:
    """Import what the tasks of the shop's DAGs import; to be called before workers are forked."""
    from ecommerce.build.warehouse_group import warehouse_profile

    warm_up_workers(project=DBT_PROJECT, profile=warehouse_profile(), modules=MODULES)

"""
Warm workers for the CeleryExecutor, by Celery's own hook.

A Celery worker forks its processes once, and each of those forks a process for each task: what the worker has imported
before it forks, all of them have. Celery's own setting loads this module, in the worker and nowhere else::

    AIRFLOW__CELERY__EXTRA_CELERY_CONFIG={"imports": ["ecommerce.workers.celery_warm_up"]}
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init

from ecommerce.workers.warm_up import is_wanted, warm_up


@worker_init.connect
def on_worker_init(**_: Any) -> None:
    """Called by Celery in the worker, before it forks."""
    if is_wanted():
        warm_up()

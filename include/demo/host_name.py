"""The name of the host that a worker of the stack stands for: Airflow asks for it (`hostname_callable`)."""

from __future__ import annotations

import os

#: The variable in which a worker finds its name.
VARIABLE = "ECOMMERCE_WORKER"


def host_name() -> str:
    """
    The name of the worker whose process this is, e.g. `worker-1`.

    :raises KeyError: this is no process of a worker
    """
    return os.environ[VARIABLE]

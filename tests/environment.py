"""
The environment of the tests: a folder of their own for the services and for Airflow.

It is imported before anything imports Airflow or the stack: both read these variables once.
"""

import os
import tempfile
from pathlib import Path

#: A folder for what outlives this process, so that the next ones need not make it again; `make test-mutants` names it.
KEPT = Path(os.environ["ECOMMERCE_TESTS_KEPT"]) if "ECOMMERCE_TESTS_KEPT" in os.environ else None
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
# The folder of a worker process lies in the folder of the process that started it, which stops the services of workers
# that were killed.
if IS_WORKER:
    FOLDER = Path(os.environ["ECOMMERCE_TESTS_FOLDER"]) / os.environ["PYTEST_XDIST_WORKER"]
else:
    FOLDER = Path(tempfile.mkdtemp(prefix="ecommerce-tests-"))
    os.environ["ECOMMERCE_TESTS_FOLDER"] = str(FOLDER)
os.environ.update(
    {
        "STACK_DIR": str(FOLDER / "stack"),
        "AIRFLOW_HOME": str(FOLDER / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parents[1] / "plugins"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }
)
for name in ("AIRFLOW_PORT", "POSTGRES_PORT", "KAFKA_PORT", "WEATHER_PORT", "VALKEY_PORT"):
    os.environ.pop(name, None)

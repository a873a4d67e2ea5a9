"""One run of `ecommerce_warehouse` by `dag.test()`: every task in this one process, without a scheduler."""

import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb


def main(first: str, last: str) -> int:
    initdb()
    bag = DagBag(load_op_links=False)
    assert not bag.import_errors, bag.import_errors
    run = bag.dags["ecommerce_warehouse"].test(run_conf={"start_date": first, "end_date": last})
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    print({task: state for task, state in states.items() if state != "success"})
    return 0 if run.state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

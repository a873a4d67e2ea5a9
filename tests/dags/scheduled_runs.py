"""Create the runs that the schedule would have created for a range of days, and wait until they have ended."""

import sys
import time
from datetime import UTC, date, datetime, timedelta

from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.timetables.base import DataInterval
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from pendulum import instance
from sqlalchemy import select

DAG_ID = "ecommerce_warehouse"


def main(first: date, last: date) -> int:
    runs = []
    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert dag is not None
        for n in range((last - first).days + 1):
            start = instance(datetime.combine(first + timedelta(days=n), datetime.min.time(), tzinfo=UTC))
            run = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.logical_date == start))
            if run is not None:
                session.delete(run)
                session.flush()
            created = dag.create_dagrun(
                run_id=f"scheduled__{start.isoformat()}",
                logical_date=start,
                data_interval=DataInterval(start, start.add(days=1)),
                run_after=start.add(days=1),
                run_type=DagRunType.SCHEDULED,
                triggered_by=DagRunTriggeredByType.TIMETABLE,
                state=DagRunState.QUEUED,
                session=session,
            )
            runs.append(created.run_id)
    deadline = time.monotonic() + 540
    states: list[str] = []
    while time.monotonic() < deadline:
        with create_session() as session:
            query = select(DagRun.state).where(DagRun.dag_id == DAG_ID, DagRun.run_id.in_(runs))
            states = list(map(str, session.scalars(query).all()))
        if all(state in ("success", "failed") for state in states):
            print(states)
            return 0 if len(states) == len(runs) and set(states) == {"success"} else 1
        time.sleep(2)
    print(f"not done in time: {states}")
    return 1


if __name__ == "__main__":
    sys.exit(main(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2])))

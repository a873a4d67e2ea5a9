"""What the demo asks Airflow's API for."""

import json

import httpx
import pytest

from include.demo.airflow_api import AirflowApi


@pytest.mark.parametrize(
    ("zone", "begin", "end"),
    [
        ("UTC", "2024-03-30T00:00:00+00:00", "2024-04-01T00:00:00+00:00"),
        # Clocks are changed between the two.
        ("Europe/Berlin", "2024-03-30T00:00:00+01:00", "2024-04-01T00:00:00+02:00"),
        ("America/New_York", "2024-03-30T00:00:00-04:00", "2024-04-01T00:00:00-04:00"),
    ],
)
def test_backfill_is_asked_for_from_midnight_to_midnight_of_the_dags_time_zone(zone: str, begin: str, end: str) -> None:
    asked = {}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v2/dags/a_dag/details":
            return httpx.Response(200, json={"timezone": zone})
        if request.method == "POST":
            body = json.loads(request.content)
            asked["backfill"] = (body["from_date"], body["to_date"])
            return httpx.Response(200, json={"id": 7})
        asked["runs"] = (request.url.params["logical_date_gte"], request.url.params["logical_date_lte"])
        return httpx.Response(200, json={"dag_runs": [], "total_entries": 0})

    api = AirflowApi.__new__(AirflowApi)
    api._client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(respond))
    assert api.backfill("a_dag", "2024-03-30", "2024-04-01", 4) == 7
    assert api.backfill_runs("a_dag", "2024-03-30", "2024-04-01") == []
    assert asked == {"backfill": (begin, end), "runs": (begin, end)}

"""A weather API that answers 429, 500, half a body, nonsense or nothing, once or from now on."""

from typing import get_args

import pytest

from tests.faults.invariants import check
from tests.faults.place import Place
from tests.faults.weather_api import Fault

#: What trickles never ends by itself: see test_unresponsive_servers.py.
FAULTS = [fault for fault in get_args(Fault) if fault != "trickles"]
#: What another request would be answered in the same way is not asked again.
FOR_GOOD = ("wrong JSON", "no JSON")


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_weather_api_loads_once(place: Place, fault: Fault) -> None:
    place.weather.faults.append(fault)
    once = place.load("weather_data", patience=0.5)
    assert once.is_success == (fault not in FOR_GOOD), once.log

    # From the first request on, whatever is asked again.
    place.empty()
    place.fill()
    place.weather.faults.extend([fault] * 50)
    failed = place.load("weather_data", patience=0.5)
    assert (failed.exit_code, (failed.error or "").partition(":")[0]) == (1, "SourceError")
    assert [status for status, *_ in place.batches()] == ["failed"]
    assert (place.raw("weather_data").total(), place.quarantined("weather_data").total()) == (0, 0)

    place.weather.faults.clear()
    place.retry("weather_data")
    check(place, "weather_data")

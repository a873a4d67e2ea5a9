"""
Nothing hangs for ever: a line that is open and carries nothing, an API that trickles, a server that works for no one.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from ecommerce.common.connection_watchdog import VARIABLE as ANSWER_TIMEOUT
from tests.faults.invariants import check, no_trace_of_sessions
from tests.faults.place import Place
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.slow

MakeProxy = Callable[[str], Proxy]
#: As an administrator would set it in a connection's extra.
SHORT = {"connect_timeout": "2", "tcp_user_timeout": "1000"}


def ends_and_is_made_good(place: Place, source: str, line: Proxy, started: float) -> None:
    """The try has ended by itself; what it left is gone with the line, and the next one loads."""
    assert line.broken.is_set()
    assert time.monotonic() - started < 15
    line.heal()
    no_trace_of_sessions(place)
    assert place.raw(source).total() == 0
    place.retry(source)
    check(place, source)


@pytest.mark.parametrize("which", ["warehouse", "shop"])
def test_server_that_accepts_and_never_answers_is_given_up(place: Place, proxy: MakeProxy, which: str) -> None:
    line = proxy(place.warehouse_dsn if which == "warehouse" else place.shop_dsn)
    line.fall_silent()
    started = time.monotonic()
    proxies = {which: line}
    outcome = place.load("sales_fact", options=SHORT, warehouse=proxies.get("warehouse"), shop=proxies.get("shop"))
    assert "cannot connect to Postgres by the connection" in (outcome.error or "")
    assert "timeout expired" in (outcome.error or "")
    ends_and_is_made_good(place, "sales_fact", line, started)


@pytest.mark.parametrize("point", ["before_read", "written_to_raw", "before_commit"])
def test_unresponsive_warehouse_is_given_up(place: Place, proxy: MakeProxy, point: str) -> None:
    line = proxy(place.warehouse_dsn)
    silent = place.start("sales_fact", fault=f"{point}:stop", warehouse=line, environment={ANSWER_TIMEOUT: "1"})
    silent.wait_until_stopped()
    line.fall_silent()
    started = time.monotonic()
    silent.resume()
    outcome = silent.wait()
    assert outcome.exit_code == 1
    assert "no answer from Postgres at 127.0.0.1" in outcome.log
    ends_and_is_made_good(place, "sales_fact", line, started)


def test_source_unresponsive_during_read_is_given_up(place: Place, proxy: MakeProxy) -> None:
    line = proxy(place.shop_dsn)
    line.fall_silent_after(20_000, "client")
    started = time.monotonic()
    outcome = place.load("sales_fact", shop=line, environment={ANSWER_TIMEOUT: "1"})
    assert (outcome.error or "").startswith("SourceError: sales_fact: reading 2024-03-01 to 2024-03-04")
    assert [status for status, *_ in place.batches()] == ["failed"]
    ends_and_is_made_good(place, "sales_fact", line, started)


def test_warehouse_that_stops_receiving_is_given_up(place: Place, proxy: MakeProxy) -> None:
    """What is sent and not taken within `tcp_user_timeout` ends the connection, without a look at answers."""
    place.grow()
    line = proxy(place.warehouse_dsn)
    line.fall_silent_after(1_000_000, "server")
    started = time.monotonic()
    outcome = place.load("customer", warehouse=line, options=SHORT)
    assert outcome.exit_code == 1
    assert "no answer from Postgres" not in outcome.log
    ends_and_is_made_good(place, "customer", line, started)


def test_execution_timeout_does_not_hang_in_cleanup(place: Place, proxy: MakeProxy) -> None:
    line = proxy(place.warehouse_dsn)
    silent = place.start(
        "sales_fact",
        fault="written_to_raw:stop",
        warehouse=line,
        execution_timeout=1.0,
        environment={ANSWER_TIMEOUT: "2"},
    )
    silent.wait_until_stopped()
    line.fall_silent()
    started = time.monotonic()
    silent.resume()
    outcome = silent.wait()
    assert (outcome.exit_code, (outcome.error or "").partition(":")[0]) == (1, "AirflowTaskTimeout")
    ends_and_is_made_good(place, "sales_fact", line, started)


def test_trickling_api_is_ended_by_execution_timeout(place: Place) -> None:
    place.weather.faults.extend(["trickles"] * 50)
    outcome = place.load("weather_data", patience=1.0, execution_timeout=2.0)
    assert (outcome.exit_code, (outcome.error or "").partition(":")[0]) == (1, "AirflowTaskTimeout")
    assert [status for status, *_ in place.batches()] == ["failed"]
    place.weather.faults.clear()
    place.retry("weather_data")
    check(place, "weather_data")


@pytest.fixture
def slow_landing(place: Place) -> Iterator[str]:
    """The first try's insert into raw takes half a minute, as on a busy server."""
    place.connection.execute(
        "create function public.be_slow() returns trigger language plpgsql as $$ begin"
        " if current_setting('application_name') = 'try_slow' then perform pg_sleep(30); end if; return null; end $$;"
        " create trigger be_slow before insert on raw.sales_fact for each statement execute function public.be_slow()"
    )
    yield "try_slow"
    place.connection.execute("drop function public.be_slow cascade")


def test_warehouse_stops_work_for_vanished_loader(place: Place, slow_landing: str) -> None:
    options = {"application_name": slow_landing, "options": "-c client_connection_check_interval=200ms"}
    killed = place.start("sales_fact", options=options)
    sleeping = "select count(*) from pg_stat_activity where application_name = %s and wait_event = 'PgSleep'"
    while place.admin.execute(sleeping, [slow_landing]).fetchone() == (0,):
        assert killed.is_alive
        time.sleep(0.01)
    killed.kill()
    started = time.monotonic()
    place.retry("sales_fact")
    assert time.monotonic() - started < 10
    check(place, "sales_fact")

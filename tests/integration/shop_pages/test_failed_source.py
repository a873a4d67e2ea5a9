"""What the pages say of a run whose source failed: it is failed, whatever it has published without that source."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape

import psycopg
import pytest
from fastapi.testclient import TestClient

from ecommerce.build import lease
from ecommerce.build.excluded_models import exclusions_for
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.extract.reader_protocol import ResumePoints
from ecommerce.load.batches import RunIdentity
from ecommerce.publish.publication import publish
from include.demo import airflow_services
from tests.integration.shop_pages.conftest import AS_OF
from tests.integration.support import Loader, Row, Rows, checks_passed

pytestmark = pytest.mark.slow

DAG = "ecommerce_warehouse"
WEATHER: list[Row] = [{"date": AS_OF, "temperature": "16", "precipitation": "1", "city": "Berlin"}]


@dataclass
class Unavailable(Rows):
    """The reader of a source whose server does not answer."""

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        raise SourceError("the weather API does not answer")


@dataclass
class Warehouse:
    """The filled warehouse, and the steps of a run that the pages know."""

    connection: psycopg.Connection
    client: TestClient

    def load(self, run_id: str, source: str, rows: list[Row] | None) -> None:
        """Load the as-of date; without rows the source does not answer."""
        loader, run = Loader(self.connection), RunIdentity(DAG, run_id)
        if rows is not None:
            loader.load(source, AS_OF, rows=rows, run=run)
            return
        with pytest.raises(SourceError):
            loader.load(source, AS_OF, reader=Unavailable(SOURCES[source], ()), run=run)

    def publish(self, run_id: str, *, without: set[str]) -> None:
        """Claim and publish as a run does whose sources `without` have failed."""
        airflow_services.build_manifest()
        assert lease.take(
            self.connection, DAG, run_id, project="p", full_refresh=False, exclusions=exclusions_for(without)
        )
        with checks_passed(self.connection, run_id), warehouse(PUBLISHER) as publisher:
            publish(publisher, run_id)

    def outcome(self, run_id: str) -> tuple[str, str]:
        """The badge of a run on *Data status*: its colour and its text."""
        (runs,) = re.findall(r'<section class="section" id="runs".*?</section>', self.html("/status"), re.S)
        (row,) = (row for row in re.findall(r"<tr>.*?</tr>", runs, re.S) if f">{run_id}<" in row)
        ((colour, text),) = re.findall(r'<span class="badge (\w+)">([^<]*)<', row)
        return colour, unescape(text)

    def cell(self, source: str) -> tuple[str, str]:
        """The cell of a source on the as-of date, in its row of the calendar: its state and its title."""
        (row,) = re.findall(rf'<tr id="source-{source}">.*?</tr>', self.html("/status"), re.S)
        ((state, title),) = re.findall(rf'<a class="d-(\w+)" data-day="{AS_OF}" data-tip="([^"]*)"', row)
        return state, title

    def attention(self) -> dict[str, str]:
        """What needs attention on *Today* → where it leads."""
        (items,) = re.findall(r'class="attention">.*?</section>', self.html("/today"), re.S)
        return {text: link for link, text in re.findall(r'<a href="([^"]*)">([^<]*)</a>', items)}

    def html(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def shop(client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    with psycopg.connect(filled("warehouse"), autocommit=True) as connection:
        yield Warehouse(connection, client)


@pytest.mark.usefixtures("patient")
def test_run_that_published_without_a_failed_source_is_shown_as_failed(shop: Warehouse) -> None:
    assert shop.cell("weather_data") == ("published", f"Weather data, {AS_OF}: published")
    # As the run leaves it whose task has failed twice.
    shop.load("without+weather", "customer", [])
    shop.load("without+weather", "weather_data", None)
    shop.load("without+weather", "weather_data", None)
    assert shop.outcome("without+weather") == ("bad", "load of weather data failed")
    shop.publish("without+weather", without={"weather_data"})

    assert shop.outcome("without+weather") == ("bad", "failed, published without weather data")
    failed = f"Weather data, {AS_OF}: last load failed, with the rows of an earlier load"
    assert shop.cell("weather_data") == ("failed", failed)
    assert shop.attention()["The last load of weather data failed"] == "/status#source-weather_data"
    # What is still published of that day, and by which marts.
    day = shop.html(f"/status/weather_data/{AS_OF}")
    assert "failed and has changed nothing" in day
    older = re.findall(r'<a href="/models/(\w+)">[^<]*</a></td>\s*<td class="numeric">(\d+)<', day)
    assert {mart: number for mart, number in older} == {"weather_correlation": "1", "weather_sales_impact": "1"}
    assert len(re.findall(r"not of the last publication", day)) == 2

    # The next run repairs it; the one before stays what it was.
    shop.load("repairing", "weather_data", WEATHER)
    shop.publish("repairing", without=set())
    assert shop.outcome("repairing") == ("good", "published")
    assert shop.outcome("without+weather") == ("bad", "failed, published without weather data")
    assert shop.cell("weather_data") == ("published", f"Weather data, {AS_OF}: published")
    assert not [text for text in shop.attention() if "last load" in text and "failed" in text]


@pytest.mark.usefixtures("patient")
def test_each_failed_source_of_a_run_is_named(shop: Warehouse) -> None:
    for source in ("weather_data", "refund"):
        shop.load("without two", source, None)
    shop.publish("without two", without={"weather_data", "refund"})
    assert shop.outcome("without two") == ("bad", "failed, published without refund, weather data")
    assert {text: link for text, link in shop.attention().items() if "The last load" in text} == {
        f"The last load of {source.replace('_', ' ')} failed": f"/status#source-{source}"
        for source in ("refund", "weather_data")
    }


@pytest.mark.usefixtures("patient")
def test_load_that_succeeded_at_its_second_try_is_no_failure(shop: Warehouse) -> None:
    shop.load("second try", "weather_data", None)
    shop.load("second try", "weather_data", WEATHER)
    shop.load("second try", "refund", [])
    shop.publish("second try", without=set())
    assert shop.outcome("second try") == ("good", "published")

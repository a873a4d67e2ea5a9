"""A shop of more than two years, loaded and built in two parts: seasons and weather are the expected ones."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import psycopg
import pytest

from ecommerce.common.sources import SOURCES
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.oracle.test_edge_case_marts import shop_of_files
from tests.oracle import compute
from tests.oracle.compare import compare
from tests.oracle.season_shop import FIRST, LAST, write_season_shop

#: The last day of the first part: 22 complete months, so that the second build changes what the first has made of them.
MIDDLE = date(2023, 11, 4)
DAY = timedelta(days=1)


@pytest.mark.slow
def test_marts_of_season_shop_equal_the_expected_ones_and_a_full_refresh(
    connection: psycopg.Connection, dbt: Dbt, warehouse_dsn: str, tmp_path: Path
) -> None:
    write_season_shop(tmp_path)
    place = Place(connection, dbt)
    place.open()
    place.shop = shop_of_files(tmp_path, compute.UTC)
    for first, last in ((FIRST, MIDDLE), (MIDDLE + DAY, LAST)):
        at = datetime.combine(last + DAY, time(), tzinfo=UTC)
        for source in SOURCES:
            Load(at, source, first, last).happen(place)
        Build(at).happen(place)
        differences = compare(tmp_path, FIRST, last, warehouse_dsn)
        assert not differences, "\n".join(map(str, differences))
    incremental = place.tables()
    Build(at, full_refresh=True).happen(place)
    assert place.tables() == incremental
    builds = connection.execute("select is_full_refresh from ops.build order by claimed_at").fetchall()
    assert builds == [(False,), (False,), (True,)]

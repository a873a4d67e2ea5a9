"""The profile of the demo's shop: what it says of each source, and that the warehouse can read it."""

from pathlib import Path

import pytest
import yaml

from ecommerce.common.shop import SHOPS, VARIABLE, shop
from ecommerce.common.sources import SOURCES
from include.demo.shop.profile import shop_profile, write_profile


def profile(*sources: str, customers_are_numbers: bool = False) -> dict:
    text = shop_profile(sources, customers_are_numbers=customers_are_numbers)
    assert text is not None
    return yaml.safe_load(text)


def test_shop_with_all_sources_needs_no_profile() -> None:
    assert shop_profile(list(SOURCES), customers_are_numbers=False) is None


def test_profile_names_the_place_of_each_source_and_those_that_are_absent() -> None:
    has = ("sales_fact", "kafka_stream", "subscription_data", "weather_data")
    assert profile(*has)["sources"] == {
        "kafka_stream": {"connection": "shop_kafka", "topic": "customer_interactions"},
        "product": "absent",
        "product_category": "absent",
        "sales_fact": {"connection": "shop_postgres", "table": "public.sales_fact"},
        "refund": "absent",
        "customer": "absent",
        "subscription_data": {
            "connection": "shop_postgres",
            "template": str(SHOPS / "default" / "subscription_data.sql"),
        },
        "weather_data": {"connection": "weather_api"},
    }


def test_customers_with_numbers_keep_them_in_subscriptions() -> None:
    sources = profile(*SOURCES, customers_are_numbers=True)["sources"]
    assert sources["subscription_data"] == {"connection": "shop_postgres", "table": "public.subscription_data"}
    assert "absent" not in sources.values()


def test_shop_of_orders_alone_has_no_other_source() -> None:
    sources = profile("sales_fact")["sources"]
    assert [name for name, place in sources.items() if place != "absent"] == ["sales_fact"]
    assert set(sources) == set(SOURCES)


def test_profile_is_written_once_and_removed_when_it_is_not_needed(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    write_profile(folder, None)
    assert not folder.exists()
    write_profile(folder, "sources: {}\n")
    file = folder / "shop.yml"
    written = file.stat()
    write_profile(folder, "sources: {}\n")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
    write_profile(folder, "sources: {a: absent}\n")
    assert [path.name for path in folder.iterdir()] == ["shop.yml"]
    assert file.read_text() == "sources: {a: absent}\n"
    write_profile(folder, None)
    assert not file.exists()


@pytest.mark.parametrize("has", [["sales_fact"], ["sales_fact", "subscription_data", "kafka_stream", "weather_data"]])
def test_written_profile_has_the_places_of_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: list[str]
) -> None:
    write_profile(tmp_path / "shop", shop_profile(has, customers_are_numbers=False))
    monkeypatch.setenv(VARIABLE, "default")
    default = shop()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "shop"))
    # The same places as in the profile `default`, with its templates.
    assert shop().sources == {name: default.sources[name] for name in SOURCES if name in has}

"""Which pages the benchmark of the pages opens."""

from datetime import date

from starlette.routing import Route

from benchmarks.page_addresses import Shop, every_address
from benchmarks.pages import _default_addresses
from shop_pages.drill import DRILL_PATHS, FACTS
from shop_pages.routes import ROUTERS

LAST = date(2024, 1, 31)
SHOP = Shop(
    first=date(2024, 1, 1),
    last=LAST,
    category="Toys & Games",
    customer="C1",
    product="P1",
    order="O1",
    batch_id=1,
    publication_id=2,
    rejected={"source": "sales_fact", "reason": "order_amount is missing"},
    alert_id=3,
    rows={mart: dict.fromkeys(path.keys, "x") for mart, path in DRILL_PATHS.items()},
    facts={name: {"key": "x"} for name in FACTS},
)
#: No pages: a redirect, the files that pages load, and what is not there.
NO_PAGES = {"home", "asset", "not_found"}


def test_every_page_is_opened() -> None:
    routes = {
        route.name
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, Route) and "GET" in (route.methods or ()) and route.name not in NO_PAGES
    }
    opened = {name.partition(",")[0] for name in (*every_address(SHOP), *_default_addresses(LAST))}
    assert routes - opened == set()


def test_filters_are_opened_with_all_days_and_escaped() -> None:
    addresses = every_address(SHOP)
    assert addresses["profit, category"] == [
        "/shop/profit?first=2024-01-01&last=2024-01-31&category=Toys+%26+Games",
    ]
    assert len(addresses["trends, grain"]) == 4
    assert addresses["why, mrr week before"] == ["/shop/why?figure=mrr&day=2024-01-31&against=week_before"]


def test_shop_without_anything_has_the_pages_of_figures() -> None:
    addresses = every_address(Shop(first=LAST, last=LAST))
    assert "customer" not in addresses
    assert "undo" not in addresses
    assert addresses["profit, all days"] == ["/shop/profit?first=2024-01-31&last=2024-01-31"]

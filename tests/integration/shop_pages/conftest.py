"""A small warehouse with known figures, and users of the pages with tokens of Airflow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from airflow import settings as airflow_settings
from airflow.api_fastapi.app import get_auth_manager, init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.revoked_token import RevokedToken
from fastapi.testclient import TestClient
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.publish.publication import publish
from include.demo.state import State
from shop_pages import status
from shop_pages.app import create_app
from tests.copies import Copies
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader, Row, checks_passed

#: The as-of date, and the days that its figures are compared with; the year before is 52 weeks before.
AS_OF, DAY_BEFORE, WEEK_BEFORE, YEAR_BEFORE = "2024-03-01", "2024-02-29", "2024-02-23", "2023-03-03"
#: The first day that is loaded.
FIRST_LOADED = "2023-03-01"
HOSTILE_NAME = '<script>alert("x")</script><img src=x onerror=alert(1)>'
FORMULA_NAME = '=HYPERLINK("http://example.org","x")'
#: The order of a guest; its id has every character that means something in an address.
GUEST_ORDER = "G 1/2?line=7&key=%2B+#;ä"
#: The order with several lines.
LONG_ORDER = f"O-{AS_OF}-0"
#: The order with a line on the day before and one on the as-of date, which are of two months.
SPLIT_ORDER = f"O-{DAY_BEFORE}-5"
#: The warehouse's order lines; one cancelled order among them, and two lines of `LONG_ORDER` that do not count.
ORDER_LINES = 31


@pytest.fixture(scope="session")
def tokens() -> dict[str, str]:
    """Role → a token from Airflow; `nobody` is a user without a role."""
    init_auth_manager()
    # Airflow looks up whether a token was revoked.
    RevokedToken.metadata.create_all(airflow_settings.engine, tables=[RevokedToken.__table__])
    roles = {"viewer": "VIEWER", "user": "USER", "admin": "ADMIN", "nobody": None}
    return {
        name: get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        for name, role in roles.items()
    }


@contextmanager
def client_of(token: str | None) -> Iterator[TestClient]:
    """A client of a new application, started and stopped as by Airflow."""
    with TestClient(create_app(), follow_redirects=False) as client:
        if token:
            client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture(scope="module")
def dsn_of(warehouse_dsn: str, postgres: State, set_connection: Callable[[str, str], None]) -> Callable[[str], str]:
    """The DSN of the module's warehouse for a role, and the pages' connections to it."""

    def dsn(role: str) -> str:
        return make_conninfo(
            "", **conninfo_to_dict(warehouse_dsn) | {"user": role, "password": postgres.passwords[role]}
        )

    for role in ("reader", "inspector", "reviewer"):
        parts = conninfo_to_dict(dsn(role))
        set_connection(f"warehouse_{role}", "postgres://{user}:{password}@{host}:{port}/{dbname}".format(**parts))
    return dsn


def orders() -> list[Row]:
    """
    Ten orders at 100 on the as-of date, and fewer before; product P1 costs 60, P2 costs 20, what P3 costs is not known.

    | day | orders | revenue | cost |
    | --- | --- | --- | --- |
    | as of | 10, one of a guest | 1,000 | 10 × 60 + 2 × 20 = 640 |
    | the day before | 8 | 800, of which 100 for P3 | 7 × 60 = 420 |
    | the week before | 5 | 1,000 | 5 × 20 = 100 |
    | the year before | 4 | 500 | 4 × 60 = 240 |

    The first order of the as-of date has four lines: 60 for P1, 40 for two of P2, one that was cancelled, and a gift.
    One of the ten is the second line of an order of the day before. A cancelled order of that day counts nowhere.
    """
    days = [(AS_OF, 10, "100", "P1"), (DAY_BEFORE, 8, "100", "P1"), (WEEK_BEFORE, 5, "200", "P2")]
    days.append((YEAR_BEFORE, 4, "125", "P1"))
    lines: list[dict[str, str | None]] = [
        {
            "order_id": f"O-{day}-{n}",
            "product_id": product,
            "customer_id": f"CUST00{n % 3 + 1}",
            "order_date": day,
            "order_amount": amount,
            "order_quantity": "1",
            "payment_method": "card" if n % 2 else "invoice",
            "discount_applied": "0.5" if n == 0 else "0",
            "shipping_cost": "20" if n == 0 else "1",
            "created_at": f"{day} 12:00:00",
        }
        for day, many, amount, product in days
        for n in range(many)
    ]
    first, split, guest, unknown_cost = lines[0], lines[8], lines[9], lines[17]
    split |= {"order_id": SPLIT_ORDER, "line_number": "2"}
    unknown_cost |= {"product_id": "P3"}
    guest |= {"order_id": GUEST_ORDER, "customer_id": " ", "discount_applied": "0.4"}
    other = {**first, "discount_applied": "0", "shipping_cost": "0"}
    first |= {"line_number": "1", "order_amount": "60"}
    lines += [
        {**other, "line_number": "2", "product_id": "P2", "order_amount": "40", "order_quantity": "2"},
        {**other, "line_number": "3", "order_amount": "77", "order_status": "Canceled"},
        {**other, "line_number": "4", "product_id": "P2", "order_amount": "0"},
        {**other, "order_id": "O-cancelled", "order_amount": "999", "order_status": "VOIDED"},
    ]
    return [*lines]


def refunds() -> list[Row]:
    """
    Of the day before, of a line of the long order, of a guest, and of nothing known; and on other days.

    | day | refunds | amount |
    | --- | --- | --- |
    | as of | R1 of P1, R2 of nothing, R4 of P2 (line 2), R7 of a guest's P1 | 30 + 5.50 + 4 + 20 = 59.50 |
    | the day before | R3 of a whole order, R6 of an order that the warehouse does not have | 10 + 1.25 = 11.25 |
    | 10 May 2023, a month without orders | R5 of P1 | 25 |
    """
    found: list[Row] = [
        {"refund_id": "R1", "refund_date": AS_OF, "order_id": f"O-{DAY_BEFORE}-1", "line_number": "1",
         "refund_amount": "30", "refund_quantity": "1", "reason": "broken"},
        {"refund_id": "R2", "refund_date": AS_OF, "refund_amount": "5.50"},
        {"refund_id": "R3", "refund_date": DAY_BEFORE, "order_id": f"O-{WEEK_BEFORE}-0",
         "refund_amount": "10"},
        # The line knows better whose it is.
        {"refund_id": "R4", "refund_date": AS_OF, "order_id": LONG_ORDER, "line_number": "2", "refund_amount": "4",
         "customer_id": "CUST003", "product_id": "P1"},
        {"refund_id": "R5", "refund_date": "2023-05-10", "order_id": f"O-{YEAR_BEFORE}-0", "line_number": "1",
         "refund_amount": "25"},
        {"refund_id": "R6", "refund_date": DAY_BEFORE, "order_id": "O-gone", "line_number": "1",
         "customer_id": "CUST002", "product_id": "P2", "refund_amount": "1.25"},
        {"refund_id": "R7", "refund_date": AS_OF, "order_id": GUEST_ORDER, "line_number": "1", "refund_amount": "20"},
    ]  # fmt: skip
    return [{**refund, "created_at": f"{refund['refund_date']} 15:00:00"} for refund in found]


def events() -> list[Row]:
    """Four viewers on the as-of date of whom one buys; two of whom one buys the day before."""
    actions = [(AS_OF, f"CUST00{n}", "view") for n in (1, 2, 3, 4)] + [(AS_OF, "CUST001", "purchase")]
    actions += [(DAY_BEFORE, "CUST001", "view"), (DAY_BEFORE, "CUST002", "view"), (DAY_BEFORE, "CUST002", "purchase")]
    return [
        {
            "customer_id": customer,
            "product_id": "P1",
            "interaction_type": kind,
            "timestamp": f"{day}T10:00:{n:02d}Z",
            "_topic": "customer_interactions",
            "_partition": "0",
            "_offset": str(n),
            "_published_at": f"{day}T10:00:{n:02d}Z",
        }
        for n, (day, customer, kind) in enumerate(actions)
    ]


def subscriptions() -> list[Row]:
    """Active on the as-of date: three at 10; the day before two; the week before one; the year before four."""
    spans = [("2024-01-01", None), (DAY_BEFORE, None), (AS_OF, None), ("2023-02-01", "2023-06-01")]
    spans += [("2023-02-02", "2023-06-01"), ("2023-02-03", "2023-06-01"), ("2023-02-04", "2023-06-01")]
    return [
        {
            "customer_id": f"CUST{n % 3 + 1:03d}",
            "subscription_id": f"S{n}",
            "plan_type": "Basic",
            "subscription_start_date": start,
            "subscription_end_date": end,
            "monthly_fee": "10",
            "status": "active",
        }
        for n, (start, end) in enumerate(spans)
    ]


def products() -> list[Row]:
    """A hostile name, one that a spreadsheet would run as a formula, and a product of which nobody knows the cost."""
    return [
        {"product_id": "P1", "product_name": HOSTILE_NAME, "product_category_id": "C1"},
        {"product_id": "P2", "product_name": FORMULA_NAME, "product_category_id": "C2"},
        {"product_id": "P3", "product_name": "Costless", "product_category_id": "C3"},
    ]


def categories() -> list[Row]:
    """Costs and stock: one product is below its reorder point, one is sold out, of one there is enough."""
    return [
        {"product_id": "P1", "category_id": "C1", "category_name": "Toys & <b>Games</b>", "subcategory": "Board",
         "cost_price": "60", "retail_price": "100", "stock_level": "5", "reorder_point": "10", "discontinued": "false",
         "launch_date": "2020-01-01", "last_updated": "2020-01-01"},
        {"product_id": "P2", "category_id": "C2", "category_name": "Books", "cost_price": "20", "retail_price": "200",
         "stock_level": "0", "reorder_point": "3", "discontinued": "false", "last_updated": "2020-01-01"},
        {"product_id": "P3", "category_id": "C3", "category_name": "Food", "retail_price": "100", "stock_level": "50",
         "reorder_point": "3", "discontinued": "false", "last_updated": "2020-01-01"},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def filled(
    warehouse_dsn: str, dsn_of: Callable[[str], str], copies: Copies, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """A warehouse that is loaded, built by dbt and published as by a run; returns the DSN of a role."""
    name = str(conninfo_to_dict(warehouse_dsn)["dbname"])
    copies.fill(name, "the shop of the pages", lambda: _publish_shop(dsn_of, tmp_path_factory.mktemp("dbt")))
    return dsn_of


def _publish_shop(dsn_of: Callable[[str], str], folder: Path) -> None:
    with psycopg.connect(dsn_of("warehouse"), autocommit=True) as connection:
        loader = Loader(connection)
        loader.load("product", AS_OF, rows=products())
        loader.load("product_category", AS_OF, rows=categories())
        people = [
            {"customer_id": f"CUST00{n}", "customer_name": f"Customer {n}", "customer_email": f"c{n}@example.org",
             "start_date": "2020-01-01", "status": "active"}
            for n in (1, 2, 3)
        ]  # fmt: skip
        loader.load("customer", AS_OF, rows=people)
        loader.load("subscription_data", AS_OF, rows=subscriptions())
        rejected: list[Row] = [{**orders()[0], "order_id": "BAD", "order_amount": "-1"}]
        loader.load("sales_fact", FIRST_LOADED, AS_OF, rows=orders() + rejected)
        loader.load("refund", FIRST_LOADED, AS_OF, rows=refunds())
        loader.load("kafka_stream", DAY_BEFORE, AS_OF, rows=events(), columns=event_columns(), lineage=())
        weather = [
            {"date": day, "temperature": "15", "precipitation": "1", "city": "Berlin"} for day in (AS_OF, DAY_BEFORE)
        ]
        loader.load("weather_data", DAY_BEFORE, AS_OF, rows=weather)
        with dbt_on(dsn_of("transformer"), folder) as project:
            project.run()
        lease.take(connection, "a_dag", "a_run", project="p", full_refresh=False)
        with checks_passed(connection, "a_run"), warehouse(PUBLISHER) as publisher:
            publish(publisher, "a_run")
        connection.execute(
            "insert into ops.check_result"
            " (checked_at, run_id, check_name, subject, status, observed, expected, message) values"
            " (now(), 'a_run', 'freshness', 'sales_fact', 'pass', 1, 1, 'all days'),"
            " (now(), 'a_run', 'volume', 'raw.sales_fact', 'warn', 10, 20, '10 orders of about 20'),"
            " (now(), 'a_run', 'freshness', 'kafka_stream', 'pass', 2, 2, 'all days')"
        )


@pytest.fixture(scope="module")
def client(filled: Callable[[str], str], tokens: dict[str, str]) -> Iterator[TestClient]:
    """A viewer of the pages over the filled warehouse."""
    # Run steps and DAGs come from Airflow's own database, which is empty here.
    with pytest.MonkeyPatch.context() as patch, client_of(tokens["viewer"]) as client:
        patch.setattr(status, "run_steps", lambda dag_id, run_ids: {})
        patch.setattr("shop_pages.airflow_access.dag_exists", lambda dag_id: dag_id == "rollback_publication")
        yield client


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages show is tested, not how long they wait; statements still end after `STATEMENT_TIMEOUT`."""
    monkeypatch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 10.0)


def event_columns() -> tuple:
    from ecommerce.common.sources import SOURCES

    return SOURCES["kafka_stream"].loaded_columns

"""The shop's profile: which one is read, where it says each source lies, and the message for each kind of mistake."""

from datetime import date
from pathlib import Path

import pytest

from ecommerce.common import shop as module
from ecommerce.common.errors import ShopError, WindowError
from ecommerce.common.shop import SHOPS, VARIABLE, shop
from ecommerce.common.sources import FILLED_BY, SOURCES
from ecommerce.common.windows import _present, warehouse_params

SALES = "sales_fact: {connection: c, table: public.orders}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the profile that is chosen, with two templates and no shop.yml yet."""
    (tmp_path / "whole.sql").write_text("select 1 -- 100 %\n;  -- the end\n")
    (tmp_path / "days.sql").write_text("select *\nfrom s.t\nwhere at >= %(start)s and at < %(end)s and x like 'a%'\n")
    (tmp_path / "typo.sql").write_text("select *\nfrom s.t where at >= %(begin)s\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_default_profile_has_every_source() -> None:
    default = shop()
    assert (default.name, list(default.sources), default.absent) == ("default", list(SOURCES), [])
    wheres = {name: location.where for name, location in default.sources.items()}
    assert wheres["kafka_stream"] == "the topic 'customer_interactions' at the connection 'shop_kafka'"
    assert wheres["weather_data"] == "the connection 'weather_api'"
    assert wheres["sales_fact"] == "the table public.sales_fact at the connection 'shop_postgres'"
    assert wheres["subscription_data"] == (
        "the template include/shops/default/subscription_data.sql at the connection 'shop_postgres'"
    )


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SHOPS.glob("*/shop.yml")))
def test_each_profile_of_the_project_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, name)
    chosen = shop()
    templates = {location.template for location in chosen.sources.values() if location.template}
    assert templates == set(chosen.folder.glob("*.sql"))


@pytest.mark.parametrize(("line", "country"), [("country: FR", "FR"), ('country: "NO"', "NO"), ("", None)])
def test_profile_may_name_its_country(folder: Path, line: str, country: str | None) -> None:
    (folder / "shop.yml").write_text(f"{line}\nsources:\n  {SALES}\n")
    assert shop().country == country


@pytest.mark.parametrize(("line", "currency"), [("currency: CHF", "CHF"), ("", None)])
def test_profile_may_name_its_currency(folder: Path, line: str, currency: str | None) -> None:
    (folder / "shop.yml").write_text(f"{line}\nsources:\n  {SALES}\n")
    assert shop().currency == currency


def test_sources_are_in_the_order_of_the_registry(folder: Path) -> None:
    (folder / "shop.yml").write_text(
        f"sources:\n  weather_data: {{connection: w}}\n  {SALES}\n  product: {{connection: c, table: Items}}\n"
        "  customer: absent\n"
    )
    assert list(shop().sources) == ["product", "sales_fact", "weather_data"]
    assert shop().absent == ["kafka_stream", "product_category", "refund", "customer", "subscription_data"]
    product = shop().sources["product"]
    assert (product.schema_name, product.table_name) == (None, "Items")
    sales = shop().sources["sales_fact"]
    assert (sales.schema_name, sales.table_name) == ("public", "orders")


def test_changed_profile_is_read_again(folder: Path) -> None:
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n")
    assert not shop().has("refund")
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n  refund: {{connection: c, template: whole.sql}}\n")
    assert shop().has("refund")


def test_absent_source_leaves_its_tables_empty(folder: Path) -> None:
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n  weather_data: {{connection: w}}\n")
    assert not shop().fills("marts_build.conversion_funnel_daily")
    assert not shop().fills("raw.subscription_data")
    assert not shop().fills("customer")
    assert all(map(shop().fills, ["core.fact_sales", "core.dim_customer", "core.fact_weather", "sales_fact"]))
    with pytest.raises(ShopError, match=r"has no refund; if it does, write where it lies in .*shop\.yml"):
        shop().location_of("refund")


def test_each_table_that_one_source_fills_is_a_model() -> None:
    assert set(FILLED_BY.values()) <= set(SOURCES)
    models = {path.stem for path in (module.PROJECT / "include" / "dbt" / "models").rglob("*.sql")}
    assert set(FILLED_BY) <= models


def test_statement_has_days_as_dates_and_no_semicolon(folder: Path) -> None:
    (folder / "shop.yml").write_text(
        "sources:\n  sales_fact: {connection: c, template: days.sql}\n  product: {connection: c, template: whole.sql}\n"
    )
    bound, whole = shop().sources["sales_fact"], shop().sources["product"]
    assert (bound.is_bound, whole.is_bound) == (True, False)
    assert bound.statement(date(2024, 3, 1), date(2024, 3, 3)) == (
        "select *\nfrom s.t\nwhere at >= date '2024-03-01' and at < date '2024-03-03' and x like 'a%'\n"
    )
    assert whole.statement(date(2024, 3, 1), date(2024, 3, 3)) == "select 1 -- 100 %"


def test_changed_template_is_read_and_checked_again(folder: Path) -> None:
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n  product: {{connection: c, template: whole.sql}}\n")
    days = (date(2024, 3, 1), date(2024, 3, 3))
    before = shop().sources["product"]
    assert before.statement(*days) == "select 1 -- 100 %"
    (folder / "whole.sql").write_text("select 2")
    assert before.statement(*days) == "select 1 -- 100 %", "a load has one version of its template"
    assert shop().sources["product"].statement(*days) == "select 2"
    (folder / "whole.sql").write_text("select 2\nwhere %(begin)s < 1")
    with pytest.raises(ShopError, match=r"whole\.sql, line 2, asks for %\(begin\)s; there are %\(start\)s, "):
        shop()
    (folder / "whole.sql").unlink()
    with pytest.raises(ShopError, match=r"there is no file .*whole\.sql; write the template there"):
        shop()


def test_template_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "shop.yml").write_text("sources:\n  sales_fact: {connection: c, template: days.sql}\n")
    reads: list[str] = []
    original = Path.read_text

    def counted(path: Path) -> str:
        reads.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_text", counted)
    for _ in range(3):
        location = shop().sources["sales_fact"]
        assert location.is_bound
        location.statement(date(2024, 3, 1), date(2024, 3, 3))
    assert reads == ["shop.yml", "days.sql"]


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("select 1 -- not %(start)s", None),
        ("select 1 -- it's\n/* %(end)s\n%(what)s */", None),
        ("select '--' || %(start)s -- %(end)s", "select '--' || date '2024-03-01' -- %(end)s"),
        ('select "/*" < %(end)s as "*/"', 'select "/*" < date \'2024-03-03\' as "*/"'),
        ("select `-- ` < %(end)s", "select `-- ` < date '2024-03-03'"),
        ("select 1 /*! < %(end)s */", "select 1 /*! < date '2024-03-03' */"),
    ],
)
def test_parameter_in_a_comment_is_none(folder: Path, text: str, statement: str | None) -> None:
    """So a template of a source that is read whole may speak of it."""
    (folder / "days.sql").write_text(text)
    (folder / "shop.yml").write_text("sources:\n  sales_fact: {connection: c, template: days.sql}\n")
    location = shop().sources["sales_fact"]
    assert location.is_bound == (statement is not None)
    assert location.statement(date(2024, 3, 1), date(2024, 3, 3)) == (statement or text)


MISTAKES = [
    ("", 1, "it has no sources; write `sources:`, and below it `sales_fact: {connection: …, table: …}`"),
    (f"timezone: x\nsources:\n  {SALES}", 1, "there is no setting timezone; did you mean time_zone?"),
    (f"sources:\n  {SALES}\ntime_zone: Berlin", 3, "time_zone is 'Berlin'; write the name of a time zone, such as Eur"),
    (
        f"time_zone: [Europe/Berlin]\nsources:\n  {SALES}",
        1,
        "time_zone is ['Europe/Berlin']; write the name of a time ",
    ),
    (f"country: Germany\nsources:\n  {SALES}", 1, "country is 'Germany'; write the ISO code of a country, such as "),
    (f"sources:\n  {SALES}\ncountry: de", 3, "country is 'de'; write the ISO code of a country, such as DE, or leave "),
    (f"country: NO\nsources:\n  {SALES}", 1, 'country is false, as YAML reads NO; write "NO" in quotes for Norway'),
    (f"country: [DE]\nsources:\n  {SALES}", 1, "country is ['DE']; write the ISO code of a country, such as DE, or"),
    (f"country:\nsources:\n  {SALES}", 1, "country is None; write the ISO code of a country, such as DE, or leave the"),
    (f"currency: €\nsources:\n  {SALES}", 1, "currency is '€'; write its ISO code, such as EUR, or leave the line"),
    (f"contry: DE\nsources:\n  {SALES}", 1, "there is no setting contry; did you mean country?"),
    (f"source_time_zone: +1\nsources:\n  {SALES}", 1, "source_time_zone is 1; write the name of a time zone, such"),
    (f"sources:\n  {SALES}\n  refunds: absent", 3, "there is no source refunds; did you mean refund?"),
    (f"sources:\n  {SALES}\n  x: absent", 3, "there is no source x; there are kafka_stream, product, "),
    ("sources:\n  product: absent", 1, "sales_fact cannot be absent, since every mart is made of orders; write where "),
    ("sources:\n  sales_fact: absent", 2, "sales_fact cannot be absent, "),
    ("sources:\n  sales_fact: {table: t}", 2, "sales_fact has no connection; write `connection: …`, the name of an "),
    ("sources:\n  sales_fact:\n    connection: c\n    tabel: t", 4, "there is no setting tabel; did you mean table?"),
    (
        "sources:\n  sales_fact:\n    connection: 5\n    table: t",
        3,
        "sales_fact.connection: Input should be a valid str",
    ),
    (
        "sources:\n  sales_fact: {connection: c}",
        2,
        "it has neither a table nor a template; write `table: schema.table`",
    ),
    (
        "sources:\n  sales_fact: {connection: c, table: t, template: whole.sql}",
        2,
        "sales_fact: it has both a table and a template; keep one of them",
    ),
    (
        "sources:\n  sales_fact: {connection: c, table: a.b.c}",
        2,
        "'a.b.c' is no table; write `schema.table` or `table`",
    ),
    (
        "sources:\n  sales_fact: {connection: c, table: '\"T\"'}",
        2,
        "is no table; write `schema.table` or `table`, with",
    ),
    (
        "sources:\n  sales_fact: {connection: c, template: no.sql}",
        2,
        "no.sql; write the template there, or correct its ",
    ),
    (
        "sources:\n  sales_fact: {connection: c, template: typo.sql}",
        2,
        "typo.sql, line 2, asks for %(begin)s; there are ",
    ),
    (
        f"sources:\n  {SALES}\n  product: {{connection: c, template: days.sql}}",
        3,
        "product: it is always read whole, so ",
    ),
    (f"sources:\n  {SALES}\n  kafka_stream: {{connection: c}}", 3, "it has no topic; write `topic: name`"),
    (
        f"sources:\n  {SALES}\n  weather_data: {{connection: c, topic: t}}",
        3,
        "weather_data: it takes no topic; remove it",
    ),
    (f"sources:\n  {SALES}\n  customer:", 3, "customer is empty; write `absent`, or where it lies: "),
    (f"sources:\n  {SALES}\n  customer: somewhere", 3, "customer is 'somewhere'; write `absent`, or where it lies: "),
]


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES, ids=[message[:30] for *_, message in MISTAKES])
def test_mistake_is_named_by_file_and_line(folder: Path, text: str, line: int, message: str) -> None:
    (folder / "shop.yml").write_text(text)
    with pytest.raises(ShopError) as raised:
        shop()
    sentences = str(raised.value).split(f"; {folder}")
    assert any(f"shop.yml, line {line}: " in sentence and message in sentence for sentence in sentences), sentences


def test_all_mistakes_are_named_at_once(folder: Path) -> None:
    (folder / "shop.yml").write_text("sources:\n  sales_fact: {connection: c}\n  customers: absent\n  refund: 5\n")
    with pytest.raises(ShopError, match=r"line 3: .*line 2: .*line 4: refund is 5"):
        shop()


def test_unknown_source_names_the_restart_if_the_registry_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n  supplier: absent")
    with pytest.raises(ShopError) as raised:
        shop()
    assert "restart" not in str(raised.value)
    monkeypatch.setattr(module, "_IMPORTED_AT", 0.0)
    changed = r"there is no source supplier; .*common/sources.py has changed since this process was started: restart"
    with pytest.raises(ShopError, match=changed):
        shop()


@pytest.mark.parametrize("text", [f"sources:\n  {SALES}\n  {SALES}\n", "sources: {"])
def test_text_that_is_no_yaml_is_named(folder: Path, text: str) -> None:
    (folder / "shop.yml").write_text(text)
    with pytest.raises(ShopError, match=r"shop\.yml is no YAML: (sales_fact is there twice, in line 2 and in|while)"):
        shop()


def test_topic_of_two_sources_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets are kept by topic."""
    monkeypatch.setitem(SOURCES, "page_view", SOURCES["kafka_stream"])
    topic = "{connection: k, topic: t}"
    (folder / "shop.yml").write_text(f"sources:\n  {SALES}\n  kafka_stream: {topic}\n  page_view: {topic}\n")
    with pytest.raises(ShopError, match="line 4: page_view: the topic t is already that of kafka_stream"):
        shop()


def test_unknown_profile_is_named_with_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "exmaple")
    with pytest.raises(
        ShopError,
        match=r"is 'exmaple', but there is no include/shops/exmaple/shop\.yml; .* are default, events, example",
    ):
        shop()


def test_relative_path_starts_at_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "include/shops/example")
    assert shop().folder == module.PROJECT / "include" / "shops" / "example"


def test_form_and_request_have_only_the_shops_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "example")
    present = ["product", "product_category", "sales_fact", "refund", "customer"]
    assert warehouse_params()["sources"].value == present
    assert warehouse_params()["sources"].schema["items"]["enum"] == present
    assert _present(present) == present
    with pytest.raises(WindowError, match="the shop example has no weather_data; there are product, "):
        _present(["sales_fact", "weather_data"])
    with pytest.raises(WindowError, match="unknown source orders; there are product, "):
        _present(["orders"])

"""
The marts find what the generated shop has on purpose, and the former formulas do not.

An interval is where a right figure is in 99 of 100 shops with these effects; its width is computed from the noise that
the generator is known to have. A correlation has the interval that the mart shows with it. `make truth` prints all
figures.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from statistics import NormalDist

import pytest

from include.demo.shop.generator import effects
from include.demo.shop.generator.catalogue import CATEGORIES
from include.demo.shop.generator.customers import PLANS
from tests.truth import former_formulas
from tests.truth.expected_refunds import refunded_amount
from tests.truth.expected_sales import ALL_CATEGORIES, LINES
from tests.truth.findings import find, hold, hold_exactly, miss
from tests.truth.intervals import Estimate, growth, share
from tests.truth.planted_dirt import MISTAKES, good_rows, is_mistake, planted, rows_of_each_kind, values_of
from tests.truth.warehouse import BuiltShop, ShopSize

#: Its as-of date is the third of a month.
ONE_YEAR = ShopSize("one year", date(2023, 12, 4), date(2024, 12, 3), orders=36_000)
#: In its last month, three days are missing.
TWO_YEARS = ShopSize("two years", date(2023, 1, 1), date(2024, 12, 28), orders=120_000)
THREE_YEARS = ShopSize("three years", date(2022, 1, 1), date(2024, 12, 31), orders=150_000)

LONG_SHOPS = [pytest.param(size, marks=pytest.mark.long_form, id=size.name) for size in (TWO_YEARS, THREE_YEARS)]
SHOPS = [pytest.param(ONE_YEAR, id=ONE_YEAR.name), *LONG_SHOPS]
SHOPS_WITH_RUNNING_MONTH = SHOPS[:2]

#: What "found" means, whatever the size of the shop.
GROWTH_POINTS = 3
SEASON_POINTS = 5
#: How much more the median of three values varies than their mean.
MEDIAN_OF_THREE = 1.16

of_each_shop = pytest.mark.parametrize("shop", SHOPS, indirect=True)
of_long_shops = pytest.mark.parametrize("shop", LONG_SHOPS, indirect=True)
of_running_months = pytest.mark.parametrize("shop", SHOPS_WITH_RUNNING_MONTH, indirect=True)


# Weather


def confidence(correlation: float, days: int) -> tuple[float, float]:
    """The interval of 95 % of a correlation (Fisher)."""
    margin = NormalDist().inv_cdf(0.975) / math.sqrt(days - 3)
    return math.tanh(math.atanh(correlation) - margin), math.tanh(math.atanh(correlation) + margin)


def expected_correlation_of_rain(shop: BuiltShop, city: str) -> float:
    """The correlation of a city's precipitation with sales, by the lift of wet days and the noise of baskets."""
    rain = {row["date"]: row["precipitation"] for row in shop.generated.weather if row["city"] == city}
    lifts = {day: shop.sales.lift(day) for day in rain}
    mean_rain, mean_lift = sum(rain.values()) / len(rain), sum(lifts.values()) / len(lifts)
    together = sum((rain[day] - mean_rain) * (lifts[day] - mean_lift) for day in rain) / len(rain)
    of_rain = sum((value - mean_rain) ** 2 for value in rain.values()) / len(rain)
    of_lift = sum((value / mean_lift - 1) ** 2 for value in lifts.values()) / len(lifts)
    return float(together / mean_lift / math.sqrt(of_rain * (of_lift + shop.sales.noise_of_ratio())))


def correlations(shop: BuiltShop, factor: str) -> list[tuple[str, float, float, float, bool]]:
    return shop.rows(
        """
        select city, correlation::float, ci_low::float, ci_high::float, is_significant
        from marts.weather_correlation
        where factor = %s and lag_days = 0
        order by city
        """,
        factor,
    )


@of_each_shop
def test_temperature_has_no_effect(shop: BuiltShop) -> None:
    found = correlations(shop, "temperature")
    assert [city for city, *_ in found] == ["Berlin", "Hamburg"]
    for city, correlation, low, high, is_significant in found:
        find(shop.size.name, f"correlation of temperature, {city}", 0, correlation, (low, high))
        assert low <= 0 <= high
        assert not is_significant


#: Half a year, as the demo has it: in a whole year, growth and Christmas may happen to cancel out.
HALF_A_YEAR = (date(2024, 1, 1), date(2024, 6, 30))


@of_each_shop
def test_former_correlation_of_temperature_is_not_that_put_in(shop: BuiltShop) -> None:
    for city, days, correlation, _ in shop.rows(former_formulas.CORRELATION_WITH_REVENUE, *HALF_A_YEAR):
        low, high = confidence(correlation, days)
        find(shop.size.name, f"  formerly: correlation of temperature, {city}", 0, correlation, (low, high))
        assert not low <= 0 <= high


@of_each_shop
def test_rain_has_the_effect_put_in(shop: BuiltShop) -> None:
    found = correlations(shop, "precipitation")
    assert [city for city, *_ in found] == ["Berlin", "Hamburg"]
    for city, correlation, low, high, is_significant in found:
        put_in = expected_correlation_of_rain(shop, city)
        find(shop.size.name, f"correlation of precipitation, {city}", put_in, correlation, (low, high))
        assert low <= put_in <= high
        assert is_significant


def expected_indexes(shop: BuiltShop, column: str) -> dict[tuple[str, str], Estimate]:
    """City and weather → the index that the lift of wet days gives; of the days with both values."""
    days: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    cities: defaultdict[str, list[float]] = defaultdict(list)
    weather = shop.rows(
        f"select city, {column}, date_key from core.fact_weather"
        " where temperature_c is not null and precipitation_mm is not null"
    )
    for city, category, day in weather:
        days[city, category].append(shop.sales.lift(day))
        cities[city].append(shop.sales.lift(day))
    noise = math.sqrt(shop.sales.noise_of_ratio())
    return {
        (city, category): Estimate(
            100 * sum(lifts) / len(lifts) * len(cities[city]) / sum(cities[city]), 100 * noise / math.sqrt(len(lifts))
        )
        for (city, category), lifts in days.items()
    }


def found_indexes(shop: BuiltShop, column: str) -> dict[tuple[str, str], float]:
    rows = shop.rows(
        f"""
        select city, {column}, (sum(revenue_index * days) / sum(days))::float
        from marts.weather_sales_impact
        group by city, {column}
        order by city, {column}
        """
    )
    return {(city, category): index for city, category, index in rows}


@of_each_shop
@pytest.mark.parametrize("column", ["temperature_category", "precipitation_category"])
def test_revenue_index_of_weather_is_that_of_rain_alone(shop: BuiltShop, column: str) -> None:
    put_in, found = expected_indexes(shop, column), found_indexes(shop, column)
    assert found.keys() == put_in.keys()
    for place, index in found.items():
        hold(shop.size.name, f"revenue index, {', '.join(place)}", put_in[place], index, len(found))


@of_each_shop
def test_former_revenue_index_is_not_that_put_in(shop: BuiltShop) -> None:
    """Compared with the city's mean, the days of a season have its revenue: the temperature seems to have an effect."""
    put_in = expected_indexes(shop, "temperature_category")
    rows = shop.rows(former_formulas.REVENUE_INDEX_OF_TEMPERATURE)
    assert {(city, category) for city, category, _ in rows} == put_in.keys()
    findings = [
        find(
            shop.size.name,
            f"  formerly: revenue index, {city}, {category}",
            put_in[city, category].value,
            found,
            put_in[city, category].interval(len(rows)),
        )
        for city, category, found in rows
    ]
    assert not all(finding.is_inside for finding in findings)


# Growth


def month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def running_month(shop: BuiltShop) -> tuple[date, int]:
    """The first day of the as-of month, and its days so far."""
    return shop.last.replace(day=1), shop.last.day


def expected_month_growth(shop: BuiltShop, category: str) -> Estimate:
    """Growth of the as-of month over the same days of the month before."""
    month, days = running_month(shop)
    before = (month - timedelta(days=1)).replace(day=1)
    length_before = (month - before).days
    return growth(
        shop.sales.revenue(month, days, category), shop.sales.revenue(before, min(days, length_before), category)
    )


def growth_of_running_month(shop: BuiltShop) -> dict[str, float]:
    """The growth that the mart has of the as-of month, by category."""
    month, _ = running_month(shop)
    return dict(
        shop.rows(
            """
            select category_name, growth_percent::float
            from marts.revenue_trend
            where grain = 'month' and period_start = %s
            """,
            month,
        )
    )


@of_each_shop
def test_running_month_grows_by_what_was_put_in(shop: BuiltShop) -> None:
    found = growth_of_running_month(shop)
    for category in (ALL_CATEGORIES, *CATEGORIES):
        put_in = expected_month_growth(shop, category)
        hold(shop.size.name, f"growth of the running month, {category}", put_in, found[category], len(CATEGORIES) + 1)


@pytest.mark.parametrize("shop", LONG_SHOPS[:1], indirect=True)
def test_running_month_of_four_weeks_grows_by_season_and_growth_alone(shop: BuiltShop) -> None:
    """Four weeks have all weekdays as often, so the weekdays do not matter, and rain hardly does."""
    put_in, trend = expected_month_growth(shop, ALL_CATEGORIES), month_trend(shop)
    assert put_in.value == pytest.approx(trend, abs=GROWTH_POINTS)
    found = growth_of_running_month(shop)[ALL_CATEGORIES]
    hold(shop.size.name, "running month, season and growth alone", Estimate(trend, put_in.error), found)


def month_trend(shop: BuiltShop) -> float:
    """Growth of the as-of month by season and growth alone: without weekdays, rain and noise."""
    month, days = running_month(shop)
    before = (month - timedelta(days=1)).replace(day=1)
    return 100 * (shop.sales.trend(month, days) / shop.sales.trend(before, days) - 1)


@of_each_shop
def test_running_month_of_category_grows_by_what_was_put_in(shop: BuiltShop) -> None:
    month, days = running_month(shop)
    rows = shop.rows(
        """
        select category_name, mom_growth_percent::float, days_elapsed
        from marts.seasonal_sales_analysis
        where sales_month = %s and category_name = any(%s)
        """,
        month,
        list(CATEGORIES),
    )
    assert {category for category, *_ in rows} == set(CATEGORIES)
    for category, found, days_elapsed in rows:
        hold(shop.size.name, f"growth by month, {category}", expected_month_growth(shop, category), found, len(rows))
        assert days_elapsed == days


@pytest.mark.parametrize("shop", SHOPS[:1], indirect=True)
def test_former_growth_of_running_month_is_not_that_put_in(shop: BuiltShop) -> None:
    rows = [row for row in shop.rows(former_formulas.GROWTH_OVER_WHOLE_MONTH) if row[0] in CATEGORIES]
    assert len(rows) == len(CATEGORIES)
    for category, found, is_worst_month in rows:
        miss(shop.size.name, f"growth by month, {category}", expected_month_growth(shop, category), found, len(rows))
        assert found < -75
        assert is_worst_month


@of_running_months
def test_running_month_is_neither_best_nor_worst(shop: BuiltShop) -> None:
    month, _ = running_month(shop)
    rows = shop.rows(
        """
        select sales_month, performance_category, percent_of_average, is_complete
        from marts.seasonal_sales_analysis
        where category_name = any(%s)
        """,
        list(CATEGORIES),
    )
    running = [row for row in rows if row[0] == month]
    assert {(category, percent, complete) for _, category, percent, complete in running} == {
        ("Incomplete", None, False)
    }
    ranked = Counter(category for _, category, _, is_complete in rows if is_complete)
    assert ranked["Best Month"] == ranked["Worst Month"] == len(CATEGORIES)


@pytest.mark.parametrize(
    ("shop", "grain", "first", "days"),
    [
        pytest.param(TWO_YEARS, "year", date(2024, 1, 1), 363, marks=pytest.mark.long_form, id="two years-year"),
        pytest.param(TWO_YEARS, "quarter", date(2024, 10, 1), 89, marks=pytest.mark.long_form, id="two years-quarter"),
        pytest.param(THREE_YEARS, "year", date(2024, 1, 1), 366, marks=pytest.mark.long_form, id="three years-year"),
    ],
    indirect=["shop"],
)
def test_growth_over_last_year_is_within_points_of_the_trend(
    shop: BuiltShop, grain: str, first: date, days: int
) -> None:
    year_before = first.replace(year=first.year - 1)
    before = min(days, (first - year_before).days)
    put_in = growth(shop.sales.revenue(first, days), shop.sales.revenue(year_before, before))
    found = shop.value(
        """
        select year_over_year_percent::float
        from marts.revenue_trend
        where grain = %s and period_start = %s and category_name = %s
        """,
        grain,
        first,
        ALL_CATEGORIES,
    )
    hold(shop.size.name, f"{grain} over year before", put_in, found)
    assert found == pytest.approx(put_in.value, abs=GROWTH_POINTS)
    # Orders grow by 35 % a year; what an order brings falls with new and cheaper products.
    trend = 100 * (shop.sales.trend(first, days) / shop.sales.trend(year_before, before) - 1)
    assert put_in.value == pytest.approx(trend, abs=GROWTH_POINTS)
    assert sum(shop.sales.orders[first + timedelta(days=n)] for n in range(days)) / sum(
        shop.sales.orders[year_before + timedelta(days=n)] for n in range(before)
    ) == pytest.approx(1 + effects.GROWTH_A_YEAR, abs=GROWTH_POINTS / 100)


# Seasons


def expected_season(shop: BuiltShop, category: str, years: int) -> list[Estimate]:
    """
    The month factors that were put in, January first.

    The error is that of baskets, of the days' random factors, and of the weekdays and wet days that each month has.

    :param years: how many years the median is of
    """
    of_median = MEDIAN_OF_THREE if years == 3 else 1
    lift_and_weekday = {
        day: shop.sales.lift(day) * effects.WEEKDAYS[day.weekday()] for day in shop.generated.calendar.days
    }
    ordinary = sum(lift_and_weekday.values()) / len(lift_and_weekday)
    variances: defaultdict[int, list[float]] = defaultdict(list)
    month = shop.size.first
    while (after := month_after(month)) <= shop.last + timedelta(days=1):
        days = (after - month).days
        revenue = shop.sales.revenue(month, days, category)
        of_days = sum(lift_and_weekday[month + timedelta(days=number)] for number in range(days)) / days / ordinary - 1
        variances[month.month].append((revenue.error / revenue.value) ** 2 + of_days**2)
        month = after
    return [
        Estimate(factor, of_median * factor * math.sqrt(sum(variances[number]) / len(variances[number]) / years))
        for number, factor in enumerate(shop.sales.seasonal_factors(category), start=1)
    ]


@of_long_shops
def test_seasonal_index_is_that_put_in(shop: BuiltShop) -> None:
    rows = shop.rows(
        """
        select category_name, month_of_year, index_percent::float, years_used
        from marts.seasonal_index
        where category_name = any(%s)
        order by category_name, month_of_year
        """,
        [ALL_CATEGORIES, *CATEGORIES],
    )
    assert len(rows) == 12 * (len(CATEGORIES) + 1)
    for category, month, found, years in rows:
        put_in = expected_season(shop, category, years)[month - 1]
        if category == ALL_CATEGORIES:
            hold(shop.size.name, f"season, {category}, month {month}", put_in, found, 12)
            assert found == pytest.approx(put_in.value, abs=SEASON_POINTS)
        else:
            hold(shop.size.name, f"season, {category}, month {month}", put_in, found, 12 * len(CATEGORIES))


@of_long_shops
def test_former_percent_of_average_is_not_the_season_put_in(shop: BuiltShop) -> None:
    rows = shop.rows(former_formulas.PERCENT_OF_AVERAGE)
    season = shop.sales.seasonal_factors()
    misses = [abs(found - season[month - 1]) for month, found in rows]
    find(shop.size.name, "  formerly: season, missed on average by", 0, sum(misses) / 12, (0, SEASON_POINTS))
    assert sum(misses) / 12 > SEASON_POINTS


@pytest.mark.parametrize("shop", SHOPS[:1], indirect=True)
def test_shop_of_eleven_complete_months_has_no_season(shop: BuiltShop) -> None:
    assert shop.value("select count(*) from marts.seasonal_index") == 0


# Customers


def customer_ids(shop: BuiltShop) -> list[str]:
    """All customers that were generated; the marts have some more, whom dirty lines name."""
    return [customer.customer_id for customer in shop.generated.customers]


@of_each_shop
def test_share_of_customers_who_order_again_is_that_put_in(shop: BuiltShop) -> None:
    put_in, ids = shop.customers.repeat_share(), customer_ids(shop)
    found = shop.value(
        """
        select (100.0 * count(*) filter (where total_orders > 1) / count(*))::float
        from marts.customer_segments
        where total_orders > 0 and customer_id = any(%s)
        """,
        ids,
    )
    hold(shop.size.name, "customers who order again, percent", put_in, found)


@pytest.mark.parametrize("shop", SHOPS[:1], indirect=True)
def test_former_share_of_customers_with_two_lines_is_not_that_put_in(shop: BuiltShop) -> None:
    """In a longer shop nearly all customers order again, whatever is counted."""
    former = shop.value(former_formulas.CUSTOMERS_WITH_TWO_LINES, customer_ids(shop))
    miss(shop.size.name, "customers who order again, by lines", shop.customers.repeat_share(), former)


@of_each_shop
def test_retention_of_first_cohort_is_that_put_in(shop: BuiltShop) -> None:
    """In each month that is complete, after the first one that is."""
    cohort = month_after(shop.size.first - timedelta(days=1))
    rows = shop.rows(
        """
        select order_month, retention_percent::float
        from marts.customer_cohorts_monthly
        where cohort_month = %s and order_month > cohort_month and order_month < %s
        order by order_month
        """,
        cohort,
        shop.last.replace(day=1),
    )
    assert len(rows) >= 10
    for month, found in rows:
        put_in = shop.customers.retention(cohort, month)
        hold(shop.size.name, f"retention of {cohort:%Y-%m} in {month:%Y-%m}", put_in, found, len(rows))


@of_each_shop
def test_order_frequency_of_customers_is_that_put_in(shop: BuiltShop) -> None:
    put_in, ids = shop.customers.orders_per_30_days, customer_ids(shop)
    found = shop.value(
        "select avg(orders_per_30_days)::float from marts.customer_segments where customer_id = any(%s)", ids
    )
    hold(shop.size.name, "orders per 30 days of a customer", put_in, found)


@pytest.mark.parametrize("shop", SHOPS[:1], indirect=True)
def test_former_order_frequency_is_not_that_put_in(shop: BuiltShop) -> None:
    """The longer the shop, the less it matters that the days after the last order are left out."""
    former = shop.value(former_formulas.ORDERS_PER_30_DAYS_BETWEEN_ORDERS, customer_ids(shop))
    miss(shop.size.name, "orders per 30 days, to the last order", shop.customers.orders_per_30_days, former)


@of_each_shop
def test_share_of_guests_is_that_put_in(shop: BuiltShop) -> None:
    orders, guests = shop.rows("select sum(daily_orders)::float, sum(guest_orders)::float from marts.daily_revenue")[0]
    put_in = share(effects.GUEST_SHARE, orders)
    hold(shop.size.name, "guests' orders, percent", put_in, 100 * guests / orders)
    planted_guests = {row["order_id"] for row in shop.counted_lines if not (row["customer_id"] or "").strip()}
    hold_exactly(shop.size.name, "guests' orders", len(planted_guests), guests)
    former = shop.value(former_formulas.ORDERS_WITHOUT_CUSTOMER)
    assert former < len(planted_guests), "a blank customer is no customer"


# Cancelled orders, refunds, reviews


@of_each_shop
def test_share_of_cancelled_orders_is_that_put_in(shop: BuiltShop) -> None:
    cancelled, orders = shop.rows(
        """
        select
            count(distinct order_id) filter (where is_cancelled)::float,
            count(distinct order_id)::float
        from core.fact_sales
        """
    )[0]
    put_in = share(effects.CANCELLED_SHARE, orders)
    hold(shop.size.name, "cancelled orders, percent", put_in, 100 * cancelled / orders)
    former = 100 * shop.value(former_formulas.ORDERS_WITH_STATUS_CANCELLED) / orders
    miss(shop.size.name, "cancelled orders, one spelling", put_in, former)


@of_each_shop
def test_revenue_and_orders_are_those_of_orders_that_were_not_cancelled(shop: BuiltShop) -> None:
    lines = shop.counted_lines
    revenue, orders = shop.rows("select sum(daily_revenue), sum(daily_orders) from marts.daily_revenue")[0]
    put_in = sum(Decimal(row["order_amount"] or 0) for row in lines)
    hold_exactly(shop.size.name, "revenue", float(put_in), float(revenue))
    assert revenue == put_in
    hold_exactly(shop.size.name, "orders", len({row["order_id"] for row in lines}), orders)
    cancelled = shop.value("select sum(order_amount) from core.fact_sales where order_amount > 0")
    assert cancelled > put_in, "with cancelled orders it would be more"


@of_each_shop
def test_refunds_are_those_put_in(shop: BuiltShop) -> None:
    found = shop.value("select sum(refunded_amount) from marts.daily_revenue")
    put_in = sum(Decimal(row["refund_amount"] or 0) for row in good_rows("refund", shop.file("refund")))
    hold_exactly(shop.size.name, "refunds", float(put_in), float(found))
    assert found == put_in
    revenue = float(shop.value("select sum(daily_revenue) from marts.daily_revenue"))
    share_put_in = refunded_amount(shop.sales).times(100 / revenue)
    hold(shop.size.name, "refunds, percent of revenue", share_put_in, 100 * float(found) / revenue)
    former = shop.value(former_formulas.REFUNDS_OF_NAMED_LINES)
    assert former < put_in, "refunds of whole orders, and those that name no order, have no line"


def planted_reviews(shop: BuiltShop) -> tuple[set[str], set[str]]:
    """The orders with a line of more than 30 % discount, and those whose shipping is above a tenth of their amount."""
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    shipping: defaultdict[str, Decimal] = defaultdict(Decimal)
    discounted = set()
    for row in shop.counted_lines:
        order_id = row["order_id"] or ""
        amounts[order_id] += Decimal(row["order_amount"] or 0)
        shipping[order_id] += Decimal(row["shipping_cost"] or 0)
        if Decimal(row["discount_applied"] or 0) > Decimal("0.30"):
            discounted.add(order_id)
    return discounted, {order_id for order_id, amount in amounts.items() if shipping[order_id] > amount / 10}


@of_each_shop
def test_orders_to_review_are_those_put_in(shop: BuiltShop) -> None:
    discounted, shipped = planted_reviews(shop)
    found = shop.rows(
        """
        select order_id, is_high_discount, is_high_shipping
        from marts.order_for_reviews
        where is_high_discount or is_high_shipping
        """
    )
    assert {order_id for order_id, is_discount, _ in found if is_discount} == discounted
    assert {order_id for order_id, _, is_shipping in found if is_shipping} == shipped
    high = sum(weight for rate, weight in effects.DISCOUNTS.items() if rate > Decimal("0.30"))
    per_line = high / sum(effects.DISCOUNTS.values())
    orders = shop.value("select sum(daily_orders)::float from marts.daily_revenue")
    put_in = share(
        sum(weight * (1 - (1 - per_line) ** lines) for lines, weight in LINES.items()) / sum(LINES.values()), orders
    )
    hold(shop.size.name, "orders with a high discount, percent", put_in, 100 * len(discounted) / orders)
    lines = shop.value(former_formulas.LINES_TO_REVIEW)
    assert lines > len(found), "shipping is on the first line, and is high for a line sooner than for its order"


# Dirt


@of_each_shop
@pytest.mark.parametrize("source", MISTAKES)
def test_quarantine_has_exactly_the_rows_with_planted_mistakes(shop: BuiltShop, source: str) -> None:
    rows = shop.file(source)
    names = list(rows[0])
    rejected = Counter(
        values_of({name: payload.get(name) for name in names})
        for (payload,) in shop.rows("select payload from ops.quarantine where source = %s", source)
    )
    assert rejected == planted(source, rows)
    mistakes = sum(is_mistake(source, row) for row in rows)
    hold_exactly(
        shop.size.name, f"mistakes in {source}", rows_of_each_kind(source, rows) * len(MISTAKES[source]), mistakes
    )


@of_each_shop
def test_quarantine_has_no_row_of_a_source_without_mistakes(shop: BuiltShop) -> None:
    sources = {source for (source,) in shop.rows("select distinct source from ops.quarantine")}
    assert sources == set(MISTAKES)


@of_each_shop
def test_repaired_values_are_those_put_in(shop: BuiltShop) -> None:
    number = rows_of_each_kind("sales_fact", shop.file("sales_fact"))
    # No quantity and a quantity of 0; no payment method and a blank one.
    imputed, unknown = shop.rows(
        """
        select
            count(*) filter (where is_quantity_imputed),
            count(*) filter (where payment_method = 'unknown')
        from core.fact_sales
        """
    )[0]
    hold_exactly(shop.size.name, "lines with an imputed quantity", 2 * number, imputed)
    hold_exactly(shop.size.name, "lines with an unknown payment method", 2 * number, unknown)


# Recurring revenue


def month_ends(shop: BuiltShop) -> list[tuple[date, date]]:
    """Each month of the shop's days, and its last day; that of the as-of month is the as-of date."""
    months = sorted({day.replace(day=1) for day in shop.generated.calendar.days})
    return [(month, min(month_after(month) - timedelta(days=1), shop.last)) for month in months]


def recurring_revenue(shop: BuiltShop) -> dict[tuple[date, str], Decimal]:
    """Month and plan → the fees of the subscriptions that are active at the month's end, from the shop's own rows."""
    return {
        (month, plan): sum(
            (
                Decimal(row["monthly_fee"] or 0)
                for row in shop.file("subscription_data")
                if (row["plan_type"] or "").strip() == plan and is_active(row, end)
            ),
            Decimal(0),
        )
        for month, end in month_ends(shop)
        for plan in PLANS
    }


def is_active(row: Mapping[str, str | None], day: date) -> bool:
    end = row["subscription_end_date"]
    return str(row["subscription_start_date"]) <= str(day) and (end is None or end > str(day))


def closing_mrr(shop: BuiltShop) -> dict[tuple[date, str], Decimal]:
    rows = shop.rows(
        """
        select revenue_month, plan_type, closing_mrr
        from marts.subscription_performance_monthly
        where revenue_month >= %s and plan_type = any(%s)
        """,
        shop.size.first.replace(day=1),
        list(PLANS),
    )
    return {(month, plan): mrr for month, plan, mrr in rows}


@of_each_shop
def test_recurring_revenue_is_that_put_in(shop: BuiltShop) -> None:
    put_in, found = recurring_revenue(shop), closing_mrr(shop)
    assert found == put_in
    last = shop.last.replace(day=1)
    for plan in PLANS:
        hold_exactly(shop.size.name, f"recurring revenue, {plan}", float(put_in[last, plan]), float(found[last, plan]))


# The last test of each shop: it changes the shop.
@of_each_shop
def test_raised_fee_leaves_closed_months_as_they_were(shop: BuiltShop) -> None:
    before, last = closing_mrr(shop), shop.last.replace(day=1)
    new_fee = PLANS["Premium"] + 10
    shop.change_plan_fee("Premium", new_fee)
    after = closing_mrr(shop)
    assert {key: mrr for key, mrr in after.items() if key[0] < last} == {
        key: mrr for key, mrr in before.items() if key[0] < last
    }
    raised = sum(
        is_active(row, shop.last) * (new_fee - Decimal(row["monthly_fee"] or 0))
        for row in shop.file("subscription_data")
        if row["plan_type"] == "Premium"
    )
    found = shop.value(
        """
        select expansion_mrr
        from marts.subscription_performance_monthly
        where revenue_month = %s and plan_type = 'Premium'
        """,
        last,
    )
    hold_exactly(shop.size.name, "raised fees, Premium", float(raised), float(found))
    assert after[last, "Premium"] - before[last, "Premium"] == raised
    month, end = month_ends(shop)[-2]
    former = shop.value(former_formulas.RECURRING_REVENUE_BY_LATEST_FEE, "Premium", end, end)
    assert former > before[month, "Premium"], "by the latest fee, a closed month would have more than it had"

"""
The formulas that the marts had before, or a hasty reader would use: each must miss the truth that the marts find.

They are queries on `core`, whose rows the marts share, or on columns of the marts that have not changed.
"""

#: City, and the correlation of temperature and precipitation with the revenue of some days, growth and seasons
#: included.
CORRELATION_WITH_REVENUE = """
select
    weather.city,
    count(*),
    corr(weather.temperature_c, sales.revenue)::float,
    corr(weather.precipitation_mm, sales.revenue)::float
from core.fact_weather as weather
inner join core.int_daily_sales as sales
    on weather.date_key = sales.date_key
where
    weather.temperature_c is not null
    and weather.precipitation_mm is not null
    and weather.date_key between %s and %s
group by weather.city
order by weather.city
"""

#: City, temperature category, and the mean revenue of its days in percent of that of all days of the city.
REVENUE_INDEX_OF_TEMPERATURE = """
select
    city,
    temperature_category,
    (100 * sum(avg_daily_revenue * days) / sum(days) / (
        select sum(all_days.avg_daily_revenue * all_days.days) / sum(all_days.days)
        from marts.weather_sales_impact as all_days
        where all_days.city = impact.city
    ))::float
from marts.weather_sales_impact as impact
group by city, temperature_category
order by city, temperature_category
"""

#: Month of the year, and its revenue in percent of the mean month, as a mean over the years.
PERCENT_OF_AVERAGE = """
with months as (

    select
        date_trunc('month', date_key) as sales_month,
        sum(revenue) as revenue
    from core.int_daily_sales
    group by 1

)

select
    extract(month from sales_month)::integer,
    avg(100 * months.revenue / mean.revenue)::float
from months
cross join (select avg(revenue) as revenue from months) as mean
group by 1
order by 1
"""

#: Category, and the growth of its last month over the whole month before, in percent.
GROWTH_OVER_WHOLE_MONTH = """
with months as (

    select
        coalesce(products.category_name, 'none') as category_name,
        date_trunc('month', lines.date_key) as sales_month,
        sum(lines.order_amount) as revenue
    from core.fact_sales as lines
    inner join core.dim_products as products
        on lines.product_key = products.product_key
    where lines.order_amount > 0 and not lines.is_cancelled
    group by 1, 2

)

select
    running.category_name,
    (100 * (running.revenue / before.revenue - 1))::float,
    running.revenue = (
        select min(months.revenue) from months
        where months.category_name = running.category_name
    ) as is_worst_month
from months as running
inner join months as before
    on running.category_name = before.category_name
    and running.sales_month = before.sales_month + interval '1 month'
where running.sales_month = (select max(sales_month) from months)
"""

#: Orders for each 30 days from the first order to the last one.
ORDERS_PER_30_DAYS_BETWEEN_ORDERS = """
select avg(30.0 * total_orders / customer_lifetime_days)::float
from marts.customer_segments
where customer_lifetime_days > 0 and customer_id = any(%s)
"""

#: Of all customers, those with two order lines or more.
CUSTOMERS_WITH_TWO_LINES = """
select (100.0 * count(*) filter (where lines > 1) / count(*))::float
from (
    select
        customer_id,
        count(*) as lines
    from core.fact_sales
    where order_amount > 0 and not is_cancelled and customer_id = any(%s)
    group by customer_id
) as customers
"""

#: Orders whose customer is null at the source: a blank one is not.
ORDERS_WITHOUT_CUSTOMER = """
select count(distinct order_id)
from raw.sales_fact
where customer_id is null and order_amount > 0
"""

#: Orders with this status, spelled like this.
ORDERS_WITH_STATUS_CANCELLED = """
select count(distinct order_id)
from raw.sales_fact
where order_status = 'cancelled'
"""

#: Refunds that name an order line, joined to it.
REFUNDS_OF_NAMED_LINES = """
select sum(refunds.refund_amount)
from raw.refund as refunds
inner join raw.sales_fact as lines
    on refunds.order_id = lines.order_id and refunds.line_number = lines.line_number
"""

#: Lines with a high discount, or a shipping cost that is high for the line.
LINES_TO_REVIEW = """
select count(*)
from core.fact_sales
where order_amount > 0 and not is_cancelled and (discount_rate > 0.30 or shipping_cost > 0.10 * order_amount)
"""

#: Recurring revenue of a plan at the end of a month, by the fee that is known today.
RECURRING_REVENUE_BY_LATEST_FEE = """
select coalesce(sum(monthly_fee), 0)
from core.fact_subscriptions
where plan_type = %s and start_date <= %s and (end_date is null or end_date > %s)
"""

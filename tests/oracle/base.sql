-- The shop's data as the warehouse loads it: only valid rows, typed, trimmed, defaults filled in.
-- Reads `source.*`: each file as text; rows of sources with versions have read_number, 1 for the
-- opening state and 2 for the final one. Subscriptions have read_on, the day on which they were read:
-- `-infinity` for the opening state and `infinity` for the final one, which is read after the window. Variables: first_day and as_of_date, both inclusive, days of
-- the shop.

-- Order lines recorded in the window, cancelled ones too. Grain: order and line; of several with the
-- same key, the last recorded. A guest's line has no customer.
create table shop.loaded_line as
with typed as (

    select
        clean(order_id) as order_id,
        coalesce(to_whole(line_number), 1) as line_number,
        clean(product_id) as product_id,
        clean(customer_id) as customer_id,
        coalesce(lower(clean(payment_method)), 'unknown') as payment_method,
        coalesce(
            lower(clean(order_status)) in ('cancelled', 'canceled', 'voided', 'failed'), false
        ) as is_cancelled,
        to_cents(to_number(order_amount)) as order_amount,
        case
            when to_whole(order_quantity) <> 0 then to_whole(order_quantity)
            else 1
        end as order_quantity,
        coalesce(to_number(discount_applied), 0) as discount_rate,
        coalesce(to_cents(to_number(shipping_cost)), 0) as shipping_cost,
        to_date(order_date) as order_date,
        to_recorded_at(created_at) as created_at
    from source.sales_fact
    where
        to_number(order_amount) >= 0
        and not is_invalid(line_number, to_whole(line_number))
        and not is_invalid(order_quantity, to_whole(order_quantity))
        and not is_invalid(discount_applied, to_number(discount_applied))
        and not is_invalid(shipping_cost, to_number(shipping_cost))
        and not is_invalid(tax_amount, to_number(tax_amount))
        and coalesce(to_whole(line_number) >= 0, true)
        and coalesce(to_whole(order_quantity) >= 0, true)
        and coalesce(to_number(discount_applied) between 0 and 1, true)
        and coalesce(to_number(shipping_cost) >= 0, true)
        and coalesce(to_number(tax_amount) >= 0, true)

)

select * from typed
where
    order_id is not null
    and product_id is not null
    and order_date is not null
    and shop_day(created_at) between getvariable('first_day') and getvariable('as_of_date')
qualify row_number() over (partition by order_id, line_number order by created_at desc) = 1;

-- Refunds recorded in the window. Grain: refund; of several with the same id, the last recorded.
-- Product and customer are those of the order line that a refund names. Without such a line, the
-- customer is that of the order (of its lowest line), and only what is still unknown is taken from
-- the refund itself: a refund of a guest's order belongs to no customer, whatever it says.
create table shop.loaded_refund as
with typed as (

    select
        clean(refund_id) as refund_id,
        clean(order_id) as order_id,
        to_whole(line_number) as line_number,
        clean(product_id) as product_id,
        clean(customer_id) as customer_id,
        to_cents(to_number(refund_amount)) as refund_amount,
        to_date(refund_date) as refund_date,
        to_recorded_at(created_at) as created_at
    from source.refund
    where
        to_cents(to_number(refund_amount)) > 0
        and not is_invalid(line_number, to_whole(line_number))
        and not is_invalid(refund_quantity, to_whole(refund_quantity))
        and coalesce(to_whole(line_number) >= 0, true)
        and coalesce(to_whole(refund_quantity) >= 0, true)

),

recorded as (

    select * from typed
    where
        refund_id is not null
        and refund_date is not null
        and shop_day(created_at) between getvariable('first_day') and getvariable('as_of_date')
    qualify row_number() over (partition by refund_id order by created_at desc) = 1

),

lowest_line as (

    select * from shop.loaded_line
    qualify row_number() over (partition by order_id order by line_number) = 1

)

select
    recorded.refund_id,
    recorded.refund_date,
    recorded.refund_amount,
    -- Whose product's version counts: of the line that is named, the one that was sold.
    coalesce(named_line.order_date, recorded.refund_date) as version_date,
    case
        when named_line.order_id is not null then named_line.product_id
        else recorded.product_id
    end as product_id,
    case
        when named_line.order_id is not null then named_line.customer_id
        when lowest_line.order_id is not null then lowest_line.customer_id
        else recorded.customer_id
    end as customer_id
from recorded
left join shop.loaded_line as named_line
    on
        recorded.order_id = named_line.order_id
        and recorded.line_number = named_line.line_number
left join lowest_line on recorded.order_id = lowest_line.order_id;

-- Events of the window. Grain: customer, product, type and time with all its digits: a repeated message
-- counts once.
create table shop.event as
select distinct
    clean(customer_id) as customer_id,
    clean(product_id) as product_id,
    clean(interaction_type) as interaction_type,
    to_event_at("timestamp") as event_at,
    below_microsecond("timestamp") as below_microsecond
from source.kafka_stream
where
    clean(customer_id) is not null
    and clean(product_id) is not null
    and clean(interaction_type) is not null
    and to_event_at("timestamp") is not null
    and shop_day(to_event_at(coalesce(published_at, "timestamp")))
    between getvariable('first_day') and getvariable('as_of_date');

-- Weather of the window. Grain: city and day.
create table shop.weather as
select
    clean(city) as city,
    to_number(temperature) as temperature,
    to_number(precipitation) as precipitation,
    to_date(date) as weather_date
from source.weather_data
where
    clean(city) is not null
    and to_date(date) between getvariable('first_day') and getvariable('as_of_date')
    and not is_invalid(temperature, to_number(temperature))
    and not is_invalid(precipitation, to_number(precipitation))
    and coalesce(to_number(precipitation) >= 0, true);

-- Grain: read and product.
create table shop.product_name as
select
    clean(product_id) as product_id,
    clean(product_name) as product_name,
    read_number
from source.product
where clean(product_id) is not null and clean(product_name) is not null;

-- Products that the product table had at first and has no more. A row that is invalid is still there.
create table shop.removed_product as
select product_id from shop.product_name
where product_id not in (
    select clean(product.product_id)
    from source.product
    where product.read_number = 2 and clean(product.product_id) is not null
);

-- Grain: read and product. A category with the name of the total gets another one.
create table shop.product_category as
select
    clean(product_id) as product_id,
    clean(category_name)
    || case
        when regexp_full_match(clean(category_name), 'All categories( \(category\))*')
            then ' (category)'
        else ''
    end as category_name,
    clean(subcategory) as subcategory,
    clean(brand) as brand,
    clean(supplier_id) as supplier_id,
    to_cents(to_number(cost_price)) as cost_price,
    to_cents(to_number(retail_price)) as retail_price,
    to_whole(stock_level) as stock_level,
    to_whole(reorder_point) as reorder_point,
    coalesce(to_boolean(discontinued), false) as is_discontinued,
    to_date(launch_date) as launch_date,
    to_date(last_updated) as last_updated,
    read_number
from source.product_category
where
    clean(product_id) is not null
    and clean(category_id) is not null
    and clean(category_name) is not null
    and not is_invalid(cost_price, to_number(cost_price))
    and not is_invalid(retail_price, to_number(retail_price))
    and not is_invalid(margin_percent, to_number(margin_percent))
    and not is_invalid(stock_level, to_whole(stock_level))
    and not is_invalid(reorder_point, to_whole(reorder_point))
    and not is_invalid(discontinued, to_boolean(discontinued))
    and not is_invalid(launch_date, to_date(launch_date))
    and not is_invalid(last_updated, to_date(last_updated))
    and coalesce(to_number(cost_price) >= 0, true)
    and coalesce(to_number(retail_price) >= 0, true);

-- Products whose inventory row was there at first and is gone. A row that is invalid is still there.
create table shop.removed_inventory as
select product_id from shop.product_category
where product_id not in (
    select clean(product_category.product_id)
    from source.product_category
    where product_category.read_number = 2 and clean(product_category.product_id) is not null
);

-- Category and cost of an order's product. Grain: product version, [valid_from, valid_to).
-- The first version has no start. A change is valid from its last_updated, if that is later than the
-- one of the version that it follows; otherwise from when it was read, which is after every order.
create table shop.product_version as
with dated as (

    select
        *,
        case
            when last_updated > lag(last_updated) over versions then last_updated
            else date 'infinity'
        end as changed_on
    from shop.product_category
    window versions as (partition by product_id order by read_number)

)

select
    product_id,
    category_name,
    subcategory,
    cost_price,
    retail_price,
    is_discontinued,
    case
        when lag(read_number) over versions is null then date '-infinity'
        else changed_on
    end as valid_from,
    coalesce(lead(changed_on) over versions, date 'infinity') as valid_to
from dated
window versions as (partition by product_id order by read_number);

-- What is in stock at the end of a day, as far as it is known then. Grain: product and day, from its first
-- version on. Without a date of its own, a version is valid from when it was read, which is after the
-- window; and so is the news that an inventory row is gone.
create table shop.stock_version as
with dated as (

    select
        *,
        case
            when read_number = min(read_number) over (partition by product_id) then last_updated
            when last_updated > lag(last_updated) over versions then last_updated
        end as changed_on
    from shop.product_category
    window versions as (partition by product_id order by read_number)

)

select
    product_id,
    stock_level,
    changed_on,
    case
        when stock_level is null then 'Unknown'
        when stock_level <= 0 then 'Out of Stock'
        when stock_level <= coalesce(reorder_point, 0) then 'Needs Reorder'
        else 'In Stock'
    end as inventory_status,
    coalesce(stock_level <= 0 and not is_discontinued, false) as is_stocked_out,
    coalesce(
        (stock_level, reorder_point, is_discontinued) is not distinct from (
            lag(stock_level) over versions,
            lag(reorder_point) over versions,
            lag(is_discontinued) over versions
        ),
        false
    ) as is_same
from dated
where changed_on <= getvariable('as_of_date')
window versions as (partition by product_id order by read_number);

-- Grain: product and covered day at whose end the product is known to be out of stock.
create table shop.day_without_stock as
select
    product_id,
    day
from (
    select
        stock_version.product_id,
        days.day,
        arg_max(stock_version.is_stocked_out, stock_version.changed_on) as is_stocked_out
    from shop.stock_version
    inner join (
        select
            unnest(
                generate_series(
                    getvariable('first_day'), getvariable('as_of_date'), interval 1 day
                )
            )::date as day
    ) as days on stock_version.changed_on <= days.day
    group by stock_version.product_id, days.day
)
where is_stocked_out;

-- Grain: product; the latest version of each, and an inferred row for each that only facts have. What is
-- in stock of a product whose inventory row is gone is unknown.
create table shop.current_product as
with known as (

    select product_id from shop.product_name
    union
    select product_id from shop.product_category
    union
    select product_id from shop.loaded_line
    union
    select product_id from shop.loaded_refund where product_id is not null
    union
    select product_id from shop.event

),

latest_name as (

    select * from shop.product_name
    qualify row_number() over (partition by product_id order by read_number desc) = 1

),

latest_category as (

    select * from shop.product_category
    qualify row_number() over (partition by product_id order by read_number desc) = 1

)

select
    known.product_id,
    latest_name.product_name,
    latest_category.category_name,
    latest_category.brand,
    latest_category.supplier_id,
    latest_category.cost_price,
    case
        when known.product_id not in (select product_id from shop.removed_inventory)
            then latest_category.stock_level
    end as stock_level,
    case
        when known.product_id not in (select product_id from shop.removed_inventory)
            then latest_category.reorder_point
    end as reorder_point,
    coalesce(latest_category.is_discontinued, false) as is_discontinued,
    known.product_id in (select product_id from shop.removed_product) as is_removed,
    latest_category.launch_date
from known
left join latest_name on known.product_id = latest_name.product_id
left join latest_category on known.product_id = latest_category.product_id;

-- Grain: read and subscription; only valid rows. A plan with the name of the total gets another one.
create table shop.subscription_read as
select
    clean(subscription_id) as subscription_id,
    to_subscriber(customer_id) as customer_id,
    clean(plan_type)
    || case
        when regexp_full_match(clean(plan_type), 'All plans( \(plan\))*') then ' (plan)' else ''
    end as plan_type,
    coalesce(lower(clean(status)) in ('cancelled', 'canceled'), false) as is_cancelled,
    coalesce(to_cents(to_number(monthly_fee)), 0) as monthly_fee,
    to_date(subscription_start_date) as start_date,
    coalesce(to_date(subscription_end_date), date 'infinity') as end_date,
    read_on
from source.subscription_data
where
    clean(subscription_id) is not null
    and to_subscriber(customer_id) is not null
    and to_date(subscription_start_date) is not null
    and not is_invalid(subscription_end_date, to_date(subscription_end_date))
    and not is_invalid(monthly_fee, to_number(monthly_fee))
    and coalesce(to_number(monthly_fee) >= 0, true);

-- Grain: subscription; its latest valid row. One that a read does not find any more, valid or not, has
-- ended on the day of that read; if it had not begun by then, it never was. It ended at the earliest
-- on the day of its start. Status as of the as-of date.
create table shop.subscription as
with last_seen as (

    select
        clean(subscription_id) as subscription_id,
        max(read_on) as read_on
    from source.subscription_data
    group by clean(subscription_id)

),

gone as (

    select
        last_seen.subscription_id,
        min(read_day.read_on) as gone_on
    from last_seen
    inner join source.read_day on last_seen.read_on < read_day.read_on
    group by last_seen.subscription_id

),

latest as (

    select * from shop.subscription_read
    qualify row_number() over (partition by subscription_id order by read_on desc) = 1

)

select
    latest.subscription_id,
    latest.customer_id,
    latest.plan_type,
    latest.start_date,
    greatest(
        latest.start_date, least(latest.end_date, coalesce(gone.gone_on, date 'infinity'))
    ) as ended_on,
    case
        when latest.is_cancelled then 'cancelled'
        when
            latest.start_date <= getvariable('as_of_date')
            and least(latest.end_date, coalesce(gone.gone_on, date 'infinity'))
            > getvariable('as_of_date')
            then 'active'
        else 'expired'
    end as subscription_status
from latest
left join gone on latest.subscription_id = gone.subscription_id
where gone.gone_on is null or gone.gone_on > latest.start_date;

-- The fee of each day from a subscription's start to the as-of date, or to its end: of the last read
-- by that day, or of the first of all. Grain: subscription and day. A subscription that was never
-- active has its first day; `is_active` is false on the day of an end.
create table shop.subscription_day as
with every_day as (

    select
        subscription.*,
        unnest(
            generate_series(
                subscription.start_date,
                least(subscription.ended_on, getvariable('as_of_date')),
                interval 1 day
            )
        )::date as day
    from shop.subscription
    where subscription.start_date <= getvariable('as_of_date')

),

with_fee as (

    select
        every_day.subscription_id,
        every_day.customer_id,
        every_day.plan_type,
        every_day.start_date,
        every_day.day,
        every_day.day < every_day.ended_on as is_active,
        coalesce(
            arg_max(subscription_read.monthly_fee, subscription_read.read_on)
                filter (where subscription_read.read_on <= every_day.day),
            arg_min(subscription_read.monthly_fee, subscription_read.read_on)
        ) as monthly_fee
    from every_day
    inner join shop.subscription_read
        on every_day.subscription_id = subscription_read.subscription_id
    group by all

)

select
    *,
    lag(monthly_fee) over (partition by subscription_id order by day) as fee_of_day_before
from with_fee;

-- Grain: customer; the latest version of each, also if deleted, and an inferred row for each that
-- only facts have.
create table shop.current_customer as
with latest as (

    select
        clean(customer_id) as customer_id,
        clean(customer_name) as customer_name
    from source.customer
    where
        clean(customer_id) is not null
        and not is_invalid(start_date, to_date(start_date))
        and not is_invalid(end_date, to_date(end_date))
    qualify row_number() over (partition by clean(customer_id) order by read_number desc) = 1

),

known as (

    select customer_id from latest
    union
    select customer_id from shop.loaded_line where customer_id is not null
    union
    select customer_id from shop.loaded_refund where customer_id is not null
    union
    select customer_id from shop.event
    union
    select customer_id from shop.subscription

)

select
    known.customer_id,
    latest.customer_name
from known
left join latest on known.customer_id = latest.customer_id;

-- When a customer left, as it was known on the days of the orders: by the first valid read, since a later
-- one was after every order. Grain: customer.
create table shop.customer_end as
select
    clean(customer_id) as customer_id,
    to_date(end_date) as end_date
from source.customer
where
    clean(customer_id) is not null
    and not is_invalid(start_date, to_date(start_date))
    and not is_invalid(end_date, to_date(end_date))
qualify row_number() over (partition by clean(customer_id) order by read_number) = 1;

-- The order lines that marts count. Grain: order and line. Profit is null where the cost is unknown.
create table shop.counted_line as
select
    loaded_line.*,
    date_trunc('month', loaded_line.order_date)::date as order_month,
    product_version.category_name,
    product_version.subcategory,
    product_version.retail_price,
    coalesce(product_version.is_discontinued, false) as is_discontinued,
    coalesce(customer_end.end_date < loaded_line.order_date, false) as is_customer_gone,
    loaded_line.order_amount
    - loaded_line.order_quantity * product_version.cost_price as gross_profit,
    loaded_line.order_amount
    - loaded_line.order_quantity * product_version.cost_price
    - loaded_line.shipping_cost as contribution_amount
from shop.loaded_line
left join shop.product_version
    on
        loaded_line.product_id = product_version.product_id
        and loaded_line.order_date >= product_version.valid_from
        and loaded_line.order_date < product_version.valid_to
left join shop.customer_end on loaded_line.customer_id = customer_end.customer_id
where loaded_line.order_amount > 0 and not loaded_line.is_cancelled;

-- Orders. Grain: order. Of lines that differ: the customer of the lowest, and the earliest day. A line with a
-- discount of 1 has no list amount, so the order's discount is that of its other lines.
create table shop.whole_order as
select
    order_id,
    first(customer_id order by line_number) as customer_id,
    min(order_date) as order_date,
    sum(order_amount) as order_amount,
    sum(order_amount::double / (1 - discount_rate)::double)
        filter (where discount_rate < 1) as list_amount,
    sum(order_amount) filter (where discount_rate < 1) as listed_order_amount,
    sum(shipping_cost) as shipping_cost,
    sum(gross_profit) as gross_profit,
    sum(contribution_amount) as contribution_amount,
    bool_or(discount_rate > 0.30) as has_high_discount,
    bool_or(gross_profit < 0) as has_loss,
    -- As in the warehouse, the list amount is in cents.
    bool_or(
        20 * abs(
            before_discount(order_amount, discount_rate) - order_quantity * retail_price
        ) > order_quantity * retail_price
        and order_quantity * retail_price > 0
    ) as is_off_list,
    bool_or(is_discontinued) as has_discontinued_product,
    bool_or(is_customer_gone) as is_customer_gone,
    bool_or(shop_day(created_at) - order_date > 400) as is_dated_back
from shop.counted_line
group by order_id;

-- Orders beside the two in the middle of those of the 365 days before (the same one twice, if their number
-- is odd), the customer's first day, and the customer's orders of the day.
create table shop.compared_order as
select
    whole_order.*,
    quantile_disc(order_amount, 0.5) over days_before as lower_middle,
    -quantile_disc(-order_amount, 0.5) over days_before as upper_middle,
    count(*) over (
        partition by whole_order.customer_id, whole_order.order_date
    ) as orders_of_day,
    first_day.order_date as first_order_date
from shop.whole_order
left join (
    select
        customer_id,
        min(order_date) as order_date
    from shop.counted_line
    group by customer_id
) as first_day on whole_order.customer_id = first_day.customer_id
window
    days_before as (
        order by whole_order.order_date
        range between interval 365 days preceding and interval 1 day preceding
    );

-- The rules that orders break. Grain: order and rule.
create table shop.broken_rule as
with rules (rule, weight, description) as (

    values
    ('below_cost', 40, 'A line was sold below its cost'),
    ('high_discount', 30, 'A line has a discount above 30 %'),
    ('many_orders', 30, 'The customer placed more than 5 orders on this day'),
    (
        'unusual_amount',
        30,
        'The order is more than 10 times as large as the median order of the 365 days before'
    ),
    ('dated_back', 20, 'The order was recorded more than 400 days after its date'),
    ('discontinued_product', 20, 'A line has a product that was discontinued'),
    (
        'first_order_large',
        20,
        'The first order of a customer is more than 5 times as large as the median order of the 365 days before'
    ),
    ('gone_customer', 20, 'The customer had left or was deleted before the order'),
    ('high_shipping', 20, 'Shipping costs more than 10 % of the order'),
    (
        'price_off_list',
        20,
        'The price before discount of a line differs from the list price by more than 5 %'
    )

)

select
    compared_order.order_id,
    compared_order.order_date,
    compared_order.order_amount,
    rules.*
from shop.compared_order
cross join rules
where
    case rules.rule
        when 'below_cost' then has_loss
        when 'high_discount' then has_high_discount
        when 'many_orders' then customer_id is not null and orders_of_day > 5
        when 'unusual_amount' then order_amount > 5 * (lower_middle + upper_middle)
        when 'dated_back' then is_dated_back
        when 'discontinued_product' then has_discontinued_product
        when 'first_order_large'
            then first_order_date = order_date and 2 * order_amount > 5 * (lower_middle + upper_middle)
        when 'gone_customer' then is_customer_gone
        when 'high_shipping' then shipping_cost * 10 > order_amount
        when 'price_off_list' then is_off_list
    end;

-- Refunds with the category of their product: as it was sold, where the refund names an order line, so
-- that it is subtracted where its revenue is; else as it was on the day of the refund. Grain: refund.
-- All count, also those of lines that do not: the money went back.
create table shop.refund as
select
    loaded_refund.*,
    date_trunc('month', loaded_refund.refund_date)::date as refund_month,
    product_version.category_name,
    product_version.subcategory
from shop.loaded_refund
left join shop.product_version
    on
        loaded_refund.product_id = product_version.product_id
        and loaded_refund.version_date >= product_version.valid_from
        and loaded_refund.version_date < product_version.valid_to;

-- Grain: every day from the first order to the as-of date. A day without orders has revenue 0; the
-- profit of a day whose orders all have no cost is unknown: null.
create table shop.sales_day as
with every_day as (

    select
        unnest(
            generate_series(min(order_date), getvariable('as_of_date'), interval 1 day)
        )::date as order_date
    from shop.counted_line

)

select
    every_day.order_date,
    coalesce(sum(counted_line.order_amount), 0) as revenue,
    known_sum(counted_line.gross_profit, counted_line.order_id) as gross_profit,
    sum(case when counted_line.gross_profit is null then 0 else counted_line.order_amount end)
        as known_cost_revenue,
    count(distinct counted_line.order_id) as orders,
    count(distinct counted_line.customer_id) as customers,
    count(distinct counted_line.order_id)
        filter (where counted_line.customer_id is null) as guest_orders,
    coalesce(
        sum(counted_line.order_amount) filter (where counted_line.customer_id is null), 0
    ) as guest_revenue
from every_day
left join shop.counted_line on every_day.order_date = counted_line.order_date
group by every_day.order_date;

-- Revenue of a day against what is usual then. Grain: as shop.sales_day. Usual is the mean of the days from 14
-- before to 14 after, if there are 15 of them, times the mean of what its weekday has of that; a day without
-- one of the two, or with one of 0, has no ratio.
create table shop.comparable_day as
with compared as (

    select
        this_day.order_date,
        isodow(this_day.order_date) as weekday,
        this_day.revenue,
        case
            when count(*) >= 15 and sum(near_day.revenue) > 0
                then sum(near_day.revenue)::double / count(*)
        end as baseline
    from shop.sales_day as this_day
    inner join shop.sales_day as near_day
        on near_day.order_date between this_day.order_date - 14 and this_day.order_date + 14
    group by this_day.order_date, this_day.revenue

),

weekdays as (

    select
        weekday,
        sum(revenue::double / baseline) / count(*) as factor
    from compared
    where baseline is not null
    group by weekday
    having sum(revenue) > 0

)

select
    compared.order_date,
    compared.revenue,
    compared.revenue::double / (compared.baseline * weekdays.factor) as sales_ratio
from compared
left join weekdays on compared.weekday = weekdays.weekday;

-- The days of each week (ISO), month, quarter and year, from two years before the shop's first day on, so
-- that each of its periods has one to be compared with.
create table shop.period_day as
with bounds as (

    select
        least(
            getvariable('first_day'),
            (select min(order_date) from shop.loaded_line),
            (select min(refund_date) from shop.loaded_refund)
        ) as first_day,
        greatest(
            getvariable('as_of_date'),
            (select max(order_date) from shop.loaded_line),
            (select max(refund_date) from shop.loaded_refund)
        ) as last_day

),

calendar as (

    select
        unnest(
            generate_series(
                date_trunc('year', first_day) - interval 2 year,
                date_trunc('year', last_day) + interval 1 year + interval 7 day,
                interval 1 day
            )
        )::date as calendar_day
    from bounds

)

select
    grain,
    date_trunc(grain, calendar_day)::date as period_start,
    calendar_day,
    calendar_day between getvariable('first_day') and getvariable('as_of_date') as is_covered
from calendar
cross join (values ('week'), ('month'), ('quarter'), ('year')) as grains (grain);

-- Grain: period. Complete if the days of its windows are all loaded; running if it is not complete
-- and today is one of its days.
create table shop.period as
select
    grain,
    period_start,
    count(*) as days_in_period,
    count(*) filter (is_covered) as days_elapsed,
    bool_and(is_covered) as is_complete,
    bool_or(calendar_day = getvariable('as_of_date')) and not bool_and(is_covered) as is_running
from shop.period_day
group by grain, period_start;

-- The days that a period is compared with: of the period before, and of the one a year before (of a
-- week: 52 weeks). Of a running period, as many as it has had itself.
create table shop.compared_day as
with others as (

    select
        *,
        'previous' as other,
        date_trunc(grain, period_start - 1)::date as other_start
    from shop.period
    union all
    select
        *,
        'last year' as other,
        case
            when grain = 'week' then period_start - 364
            else (period_start - interval 1 year)::date
        end as other_start
    from shop.period

)

select
    others.grain,
    others.period_start,
    others.other,
    period_day.calendar_day,
    period_day.is_covered and (others.is_complete or others.is_running) as is_comparable
from others
inner join shop.period_day
    on
        others.grain = period_day.grain
        and others.other_start = period_day.period_start
where
    not others.is_running
    or period_day.calendar_day - others.other_start < others.days_elapsed;

-- Grain: period and the other one. Without all of its days loaded there is nothing to compare with.
create table shop.comparison as
select
    grain,
    period_start,
    other,
    bool_and(is_comparable) as is_comparable
from shop.compared_day
group by grain, period_start, other;

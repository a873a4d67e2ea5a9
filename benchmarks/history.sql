-- Insert the history of a shop into raw: order lines of history.years years, history.lines a day, until
-- history.last_day (all three are settings).
-- Few products and customers have most of the orders; one order in a hundred was recorded late; prices and
-- customers change a little every day. One batch per source and day, all of them published.
select setseed(0.42);

create schema history;

create table history.settings as
select
    current_setting('history.last_day')::date - (current_setting('history.years')::integer * 365 - 1) as first_day,
    current_setting('history.last_day')::date as last_day,
    current_setting('history.lines')::integer as lines,
    5000 as products,
    50000 as customers;

-- Small numbers are drawn more often: of 1000, the first 100 in 3 of 10 cases.
create function history.skewed(n integer) returns integer language sql volatile
return 1 + floor(n * power(random(), 2))::integer;

create function history.product_id(n integer) returns text language sql immutable
return 'P' || lpad(n::text, 6, '0');

create function history.customer_id(n integer) returns text language sql immutable
return 'CUST' || lpad(n::text, 6, '0');

create function history.price(n integer) returns numeric language sql immutable
return round((20 + (n * 7919 % 1000) * (n * 7919 % 1000) / 5000.0), 2);

-- The order lines that are recorded on one day, in baskets of one to three lines.
create function history.lines_of(day date, lines integer)
returns table (
    order_id text, line_number integer, product_id text, customer_id text, order_date date, order_amount numeric,
    order_quantity integer, payment_method text, discount_applied numeric, shipping_cost numeric, tax_amount numeric,
    order_status text, created_at timestamp
) language sql volatile
begin atomic
    select
        'ORD' || to_char(day, 'YYYYMMDD') || lpad(drawn.n::text, 5, '0'),
        drawn.line_number,
        history.product_id(drawn.product),
        -- A few customers order before the shop's customer table knows them, and one order in ten is a guest's.
        case
            when drawn.n % 10 = 7 then null
            when drawn.n % 1000 = 0 then history.customer_id(60000 + drawn.customer % 50)
            else history.customer_id(drawn.customer)
        end,
        day - drawn.late_days,
        round(history.price(drawn.product) * drawn.quantity * (1 - drawn.discount), 2),
        drawn.quantity,
        (array['credit_card', 'credit_card', 'paypal', 'debit_card', 'bank_transfer'])[1 + drawn.n % 5],
        drawn.discount,
        case when drawn.line_number = 1 then round((3 + 2 * random())::numeric, 2) else 0 end,
        null::numeric,
        case when drawn.n % 97 = 0 then 'cancelled' else 'completed' end,
        day + interval '1 second' * drawn.second
    from (
        select
            basket.n,
            basket.customer,
            basket.late_days,
            basket.second,
            line_number,
            history.skewed(5000) as product,
            1 + floor(4 * power(random(), 2))::integer as quantity,
            case when random() < 0.3 then round((0.05 + 0.3 * random())::numeric, 2) else 0 end as discount
        from (
            select
                n,
                history.skewed(50000) as customer,
                case when n % 100 = 0 then (1 + floor(30 * power(random(), 3)))::integer else 0 end as late_days,
                floor(86400 * random()) as second
            from generate_series(1, lines / 2) as n
            offset 0
        ) as basket
        cross join lateral generate_series(1, 1 + basket.n % 3) as line_number
        offset 0
    ) as drawn;
end;

-- The refunds of some days: of one line in fifty, nine days after it was recorded.
create function history.refunds_of(first_day date, last_day date)
returns table (
    refund_id text, order_id text, line_number integer, product_id text, customer_id text, refund_date date,
    refund_amount numeric, refund_quantity integer, reason text, created_at timestamp
) language sql volatile
begin atomic
    select
        'REF' || sold.order_id || '-' || sold.line_number,
        sold.order_id,
        sold.line_number,
        sold.product_id,
        sold.customer_id,
        sold.created_at::date + 9,
        sold.order_amount,
        sold.order_quantity,
        'damaged',
        sold.created_at + interval '9 days'
    from raw.sales_fact as sold
    where
        sold.created_at >= first_day - 9
        and sold.created_at < last_day - 8
        and hashtext(sold.order_id || sold.line_number) % 50 = 0;
end;

create function history.events_of(day date, events integer)
returns table (customer_id text, product_id text, interaction_type text, "timestamp" timestamptz)
language sql volatile
begin atomic
    select
        history.customer_id(history.skewed(50000)),
        history.product_id(history.skewed(5000)),
        case when n % 10 < 7 then 'view' when n % 10 < 9 then 'add_to_cart' else 'purchase' end,
        day::timestamp at time zone 'UTC' + interval '1 second' * floor(86400 * random())
    from generate_series(1, events) as n;
end;

-- Batches: the source's number times a million, plus the day's.
insert into ops.build (
    run_id, dag_id, as_of_date, is_full_refresh, project_digest, claimed_at, finished_at, is_published
)
select 'history', 'history', last_day, true, 'history', now(), now(), true from history.settings;

insert into ops.load_batch (
    batch_id, source, window_start, window_end, status, started_at, finished_at, built_by
) overriding system value
select
    source.n * 1000000 + day.n, source.name, settings.first_day + day.n::integer - 1, settings.first_day + day.n::integer,
    'loaded', now(), now(), 'history'
from history.settings
cross join unnest(array[
    'sales_fact', 'kafka_stream', 'product', 'product_category', 'customer', 'subscription_data', 'weather_data', 'refund'
]) with ordinality as source (name, n)
cross join generate_series(1, settings.last_day - settings.first_day + 1) as day (n);
alter table ops.load_batch alter column batch_id restart with 10000000;

insert into raw.sales_fact (
    order_id, line_number, product_id, customer_id, order_date, order_amount, order_quantity, payment_method,
    discount_applied, shipping_cost, tax_amount, order_status, created_at, _batch_id, _loaded_at
)
select placed.*, 1000000 + day.n, now()
from history.settings
cross join lateral generate_series(1, settings.last_day - settings.first_day + 1) as day (n)
cross join lateral history.lines_of(settings.first_day + day.n - 1, settings.lines) as placed;

insert into raw.refund (
    refund_id, order_id, line_number, product_id, customer_id, refund_date, refund_amount, refund_quantity, reason,
    created_at, _batch_id, _loaded_at
)
select paid_back.*, 8000001 + paid_back.refund_date - settings.first_day, now()
from history.settings
cross join lateral history.refunds_of(settings.first_day, settings.last_day) as paid_back;

insert into raw.kafka_stream
select
    sent.customer_id, sent.product_id, sent.interaction_type, sent."timestamp", 'customer_interactions', 0,
    row_number() over (), sent."timestamp", 2000000 + day.n, now()
from history.settings
cross join lateral generate_series(1, settings.last_day - settings.first_day + 1) as day (n)
cross join lateral history.events_of(settings.first_day + day.n - 1, settings.lines / 4) as sent;

insert into raw.product
select history.product_id(n), 'Product ' || n, 'C' || n % 12, first_day::timestamp at time zone 'UTC', false, 3000001, now()
from history.settings cross join generate_series(1, products) as n;

-- A price lasts for about a year.
insert into raw.product_category
select
    history.product_id(changed.n), 'C' || changed.n % 12, 'Category ' || changed.n % 12, 'Sub ' || changed.n % 48,
    'Brand ' || changed.n % 200, 'S' || changed.n % 90,
    round(history.price(changed.n) * (50 + changed.n * changed.day % 20)::numeric / 100, 2), history.price(changed.n), null,
    changed.n * 13 % 400, 40, changed.n % 97 = 0, changed.first_day - changed.n % 900,
    changed.first_day + changed.day - 1, (changed.first_day + changed.day - 1)::timestamp at time zone 'UTC', false,
    4000000 + changed.day, now()
from (
    select first_day, n, 1 as day from history.settings cross join generate_series(1, products) as n
    union
    select settings.first_day, 1 + floor(settings.products * random())::integer, day
    from history.settings
    cross join lateral generate_series(2, settings.last_day - settings.first_day + 1) as day
    cross join generate_series(1, 14)
) as changed;

insert into raw.customer
select
    history.customer_id(changed.n), 'Customer ' || changed.n || ' of ' || changed.day, 'c' || changed.n || '@example.com',
    changed.first_day - changed.n % 700, null, case when changed.day % 5 = 0 then 'inactive' else 'active' end,
    (changed.first_day + changed.day - 1)::timestamp at time zone 'UTC', false, 5000000 + changed.day, now()
from (
    select first_day, n, 1 as day from history.settings cross join generate_series(1, customers) as n
    union
    select settings.first_day, history.skewed(settings.customers), day
    from history.settings
    cross join lateral generate_series(2, settings.last_day - settings.first_day + 1) as day
    cross join generate_series(1, 20)
) as changed;

insert into raw.subscription_data
select
    n, 'SUB' || n, (array['basic', 'premium', 'family'])[1 + n % 3], starts.day,
    case when n % 3 = 0 then starts.day + 30 * (1 + n % 11) end, 5 + n % 3 * 5, 'active',
    first_day::timestamp at time zone 'UTC', false, 6000001, now()
from history.settings
cross join generate_series(1, 8000) as n
cross join lateral (select first_day + n * 7919 % (last_day - first_day + 1) as day) as starts;

insert into raw.weather_data
select
    day::date, round((15 - 12 * cos(2 * pi() * extract(doy from day) / 365) + 6 * random())::numeric, 1),
    round(greatest(0, 12 * random() - 6)::numeric, 1), city, 7000001, now()
from history.settings
cross join generate_series(first_day::timestamp, last_day::timestamp, '1 day') as day
cross join unnest(array['Berlin', 'Hamburg', 'Madrid', 'Paris', 'Rome']) as city;

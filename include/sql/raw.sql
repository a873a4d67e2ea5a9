-- Raw: the sources as they were read, typed, each row with the batch that wrote it.
-- Numbers keep the source's digits (`numeric` without a scale); staging rounds money to the cent.
-- Applied by the owner of the schema, `loader`. Functions of it are in ops.sql: the loader may write none. A table that
-- is there is changed by a file in `migrations`, and here, so that new warehouses have the same.

create table if not exists raw.kafka_stream (
    customer_id text not null,
    product_id text not null,
    interaction_type text not null,
    "timestamp" timestamptz not null,
    _topic text not null,
    _partition integer not null,
    _offset bigint not null,
    _published_at timestamptz,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    -- The digits of the message's time after the microsecond, which "timestamp" cannot hold; null if there are none.
    _below_microsecond text,
    primary key (_topic, _partition, _offset)
);
select ops.drop_index_of_another_time_zone();
create index if not exists kafka_stream_event_date on raw.kafka_stream (ops.shop_day("timestamp"));
select ops.note_time_zone_of_index();
-- The messages of a load lie together, and nearly in the order of their times: by load, and by day of recording.
create index if not exists kafka_stream_loads on raw.kafka_stream
using brin (_batch_id, (coalesce(_published_at, "timestamp") at time zone 'UTC'))
with (pages_per_range = 32, autosummarize = on);

-- Old messages, packed by `prune_warehouse` if include/retention.yml says so: a row has up to some thousand messages of one
-- partition, load and day, each column as an array in the order of their offsets, which Postgres compresses. Nothing of a
-- message is lost, so the view below has all of them as they were.
create table if not exists raw.kafka_stream_packed (
    _topic text not null,
    _partition integer not null,
    _first_offset bigint not null,
    _last_offset bigint not null,
    _day date not null, -- the day of the messages in the shop's time zone …
    _time_zone text not null, -- … which was this one
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    _skipped bigint[] not null, -- offsets between the first message and this one that are no message of this row
    customer_id text[] not null,
    product_id text[] not null,
    interaction_type text[] not null,
    "timestamp" timestamptz[] not null,
    _published_at timestamptz[] not null,
    _below_microsecond text[] not null,
    primary key (_topic, _partition, _first_offset)
);
create index if not exists kafka_stream_packed_day on raw.kafka_stream_packed (_day);
create index if not exists kafka_stream_packed_load on raw.kafka_stream_packed (_batch_id);

-- The messages of the packed rows.
create or replace view raw.kafka_stream_unpacked as
select
    message.customer_id,
    message.product_id,
    message.interaction_type,
    message."timestamp",
    packed._topic,
    packed._partition,
    packed._first_offset + message.place - 1 + message._skipped as _offset,
    message._published_at,
    packed._batch_id,
    packed._loaded_at,
    message._below_microsecond,
    packed._day,
    packed._time_zone,
    packed._first_offset,
    packed._last_offset
from raw.kafka_stream_packed as packed
cross join lateral
    unnest(
        packed.customer_id,
        packed.product_id,
        packed.interaction_type,
        packed."timestamp",
        packed._published_at,
        packed._below_microsecond,
        packed._skipped
    ) with ordinality as message (
        customer_id, product_id, interaction_type, "timestamp", _published_at, _below_microsecond, _skipped, place
    );

-- All messages, packed or not, each with its day: a query for some days or loads unpacks only those.
create or replace view raw.kafka_stream_all as
select
    customer_id,
    product_id,
    interaction_type,
    "timestamp",
    _topic,
    _partition,
    _offset,
    _published_at,
    _batch_id,
    _loaded_at,
    _below_microsecond,
    ops.shop_day("timestamp") as _day
from raw.kafka_stream
union all
select
    customer_id,
    product_id,
    interaction_type,
    "timestamp",
    _topic,
    _partition,
    _offset,
    _published_at,
    _batch_id,
    _loaded_at,
    _below_microsecond,
    _day
from raw.kafka_stream_unpacked;

-- After a change of the shop's time zone packed messages are of other days: until they are packed again, they are not.
insert into raw.kafka_stream (
    customer_id, product_id, interaction_type, "timestamp", _topic, _partition, _offset, _published_at, _batch_id,
    _loaded_at, _below_microsecond
)
select
    customer_id,
    product_id,
    interaction_type,
    "timestamp",
    _topic,
    _partition,
    _offset,
    _published_at,
    _batch_id,
    _loaded_at,
    _below_microsecond
from raw.kafka_stream_unpacked
where _time_zone <> ops.shop_time_zone();
delete from raw.kafka_stream_packed where _time_zone <> ops.shop_time_zone();

create table if not exists raw.sales_fact (
    order_id text not null,
    line_number integer not null,
    product_id text not null,
    customer_id text, -- null or blank: the order of a guest
    order_date date not null,
    order_amount numeric not null,
    order_quantity integer,
    payment_method text,
    discount_applied numeric,
    shipping_cost numeric,
    tax_amount numeric,
    order_status text,
    created_at timestamp not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (order_id, line_number)
);
-- Orders are stored in the order in which they were recorded, so an index of block ranges finds a window or a day
-- nearly as fast as a B-tree, and is built in a quarter of the time. It keeps up to 64 days for each range of blocks,
-- so orders that were recorded late are found too.
create index if not exists sales_fact_days on raw.sales_fact
using brin (created_at, order_date date_minmax_multi_ops (values_per_range = 64))
with (pages_per_range = 32, autosummarize = on);

create table if not exists raw.refund (
    refund_id text primary key,
    order_id text,
    line_number integer, -- null: of the whole order
    product_id text,
    customer_id text,
    refund_date date not null,
    refund_amount numeric not null,
    refund_quantity integer,
    reason text,
    created_at timestamp not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null
);
create index if not exists refund_days on raw.refund
using brin (created_at, refund_date date_minmax_multi_ops (values_per_range = 64))
with (pages_per_range = 32, autosummarize = on);
create index if not exists refund_order_id on raw.refund (ops.clean_text(order_id));

create table if not exists raw.weather_data (
    date date not null,
    temperature numeric,
    precipitation numeric,
    city text not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (city, date)
);

-- The version logs: one row for each version of a key, never changed; a deleted version has only the key.
create table if not exists raw.product (
    product_id text not null,
    product_name text,
    product_category_id text,
    _valid_from timestamptz not null,
    _is_deleted boolean not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (product_id, _batch_id, _valid_from) -- a load of changes may bring several versions of a key
);

create table if not exists raw.product_category (
    product_id text not null,
    category_id text,
    category_name text,
    subcategory text,
    brand text,
    supplier_id text,
    cost_price numeric,
    retail_price numeric,
    margin_percent numeric,
    stock_level integer,
    reorder_point integer,
    discontinued boolean,
    launch_date date,
    last_updated date,
    _valid_from timestamptz not null,
    _is_deleted boolean not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (product_id, _batch_id)
);

create table if not exists raw.customer (
    customer_id text not null,
    customer_name text,
    customer_email text,
    start_date date,
    end_date date,
    status text,
    _valid_from timestamptz not null,
    _is_deleted boolean not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (customer_id, _batch_id, _valid_from) -- a load of changes may bring several versions of a key
);

create table if not exists raw.subscription_data (
    customer_id text,
    subscription_id text not null,
    plan_type text,
    subscription_start_date date,
    subscription_end_date date,
    monthly_fee numeric,
    status text,
    _valid_from timestamptz not null,
    _is_deleted boolean not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (subscription_id, _batch_id)
);

-- A warehouse from before the rows of a day were counted, or with those of days of another time zone: what raw has now.
insert into ops.loaded_day (source, day, rows, batch_id)
select source, day, count(*), max(batch_id)
from (
    select 'sales_fact' as source, ops.shop_day(created_at at time zone 'UTC') as day, _batch_id as batch_id
    from raw.sales_fact
    union all
    select 'refund', ops.shop_day(created_at at time zone 'UTC'), _batch_id
    from raw.refund
    union all
    select 'weather_data', date, _batch_id
    from raw.weather_data
) as held
where not exists (select from ops.loaded_day)
group by source, day;

-- All roles that read raw may read all of it; but `inspector` sees no personal column: :'columns' are those of each source.
grant select on all tables in schema raw to transformer, publisher, inspector;
select ops.hide_personal_columns_of_raw(:'columns');

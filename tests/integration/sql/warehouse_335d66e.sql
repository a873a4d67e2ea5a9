-- A warehouse as commit 335d66e made it, from before changes had numbers: roles.sql, ops.sql, raw.sql and marts.sql of that
-- commit without their comments, and then the rows of a run. The loader owns ops, orders have no lines, customers of
-- subscriptions are numbers.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['loader', 'transformer', 'publisher', 'reader', 'inspector'] loop
        if to_regrole(wanted) is null then
            execute format('create role %I login', wanted);
        end if;
        execute format('alter role %I in database %I set search_path = pg_catalog', wanted, current_database());
        execute format('grant connect on database %I to %I', current_database(), wanted);
    end loop;
    execute format('grant temporary on database %I to loader, transformer, publisher', current_database());
    execute format('grant create on database %I to transformer', current_database());
end
$$;

revoke all on schema public from public;

do $$
declare
    owned record;
    relation regclass;
begin
    for owned in
        select *
        from (
            values
            ('ops', 'loader'),
            ('raw', 'loader'),
            ('staging', 'transformer'),
            ('core', 'transformer'),
            ('quality', 'transformer'),
            ('marts_build', 'transformer'),
            ('marts', 'publisher')
        ) as schemas (name, owner)
    loop
        execute format('create schema if not exists %I authorization %I', owned.name, owned.owner);
        execute format('alter schema %I owner to %I', owned.name, owned.owner);
        for relation in
            select pg_class.oid::regclass
            from pg_class
            inner join pg_database on pg_class.relowner = pg_database.datdba
            where
                pg_database.datname = current_database()
                and pg_class.relnamespace = to_regnamespace(owned.name)
                and pg_class.relkind in ('r', 'p', 'v', 'm')
        loop
            execute format('alter table %s owner to %I', relation, owned.owner);
        end loop;
    end loop;
end
$$;

grant usage on schema ops, raw, staging, core, quality, marts_build to publisher;
grant usage on schema ops, raw to transformer;
grant usage on schema marts to reader;
grant usage on schema ops, raw, core, quality, marts to inspector;

alter default privileges for role loader in schema ops, raw
grant select on tables to transformer, publisher, inspector;
alter default privileges for role transformer in schema staging, core, quality, marts_build
grant select on tables to publisher;
alter default privileges for role transformer in schema core, quality
grant select on tables to inspector;
alter default privileges for role publisher in schema marts
grant select on tables to reader, inspector;

grant select on all tables in schema ops, raw, staging, core, quality, marts_build to publisher;
grant select on all tables in schema ops, raw to transformer;
grant select on all tables in schema marts to reader, inspector;

set role loader;

create table if not exists ops.load_batch (
    batch_id bigint generated always as identity primary key,
    source text not null,
    window_start date not null,
    window_end date not null,
    status text not null check (status in ('running', 'loaded', 'failed')),
    rows_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_quarantined bigint not null default 0,
    rows_removed bigint not null default 0,
    started_at timestamptz not null,
    finished_at timestamptz,
    dag_id text,
    run_id text,
    try_number integer,
    error text,
    built_by text,
    check (window_start < window_end),
    check (status <> 'loaded' or rows_read = rows_loaded + rows_unchanged + rows_quarantined)
);
alter table ops.load_batch add column if not exists rows_refused bigint not null default 0;
alter table ops.load_batch add column if not exists bytes_read bigint not null default 0;
alter table ops.load_batch add column if not exists seconds numeric
    generated always as (round(extract(epoch from finished_at - started_at), 3)) stored;
alter table ops.load_batch add column if not exists rows_per_second numeric
    generated always as (round(rows_read / nullif(extract(epoch from finished_at - started_at), 0))) stored;
create index if not exists load_batch_source_window on ops.load_batch (source, status, window_end);

create table if not exists ops.schema_change (
    source text not null,
    column_name text not null,
    change text not null check (change in ('new', 'missing', 'retyped')),
    expected text,
    found text,
    policy text not null check (policy in ('ignore', 'evolve', 'fail')),
    batch_id bigint not null references ops.load_batch,
    noticed_at timestamptz not null,
    last_batch_id bigint not null references ops.load_batch,
    last_seen_at timestamptz not null,
    unique nulls not distinct (source, column_name, change, found)
);

create table if not exists ops.kafka_offset (
    topic text not null,
    "partition" integer not null,
    next_offset bigint not null,
    batch_id bigint not null references ops.load_batch,
    topic_id text,
    primary key (topic, "partition")
);
alter table ops.kafka_offset add column if not exists topic_id text;

create table if not exists ops.kafka_gap (
    topic text not null,
    "partition" integer not null,
    first_offset bigint not null,
    last_offset bigint not null,
    cause text not null check (cause in ('retention', 'transaction', 'compaction or transaction')),
    batch_id bigint not null references ops.load_batch,
    noticed_at timestamptz not null,
    primary key (topic, "partition", first_offset),
    check (first_offset <= last_offset)
);

create table if not exists ops.quarantine (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null references ops.load_batch,
    source text not null,
    reason text not null,
    payload jsonb not null,
    quarantined_at timestamptz not null,
    replayed_at timestamptz,
    replayed_batch_id bigint references ops.load_batch,
    corrected jsonb
);
alter table ops.quarantine add column if not exists replayed_batch_id bigint references ops.load_batch;
alter table ops.quarantine add column if not exists corrected jsonb;
create index if not exists quarantine_batch on ops.quarantine (batch_id);
create index if not exists quarantine_payload on ops.quarantine (source, md5(payload::text));

create table if not exists ops.dirty_date (
    source text not null,
    dirty_date date not null,
    batch_id bigint not null references ops.load_batch,
    marked_at timestamptz not null,
    claimed_by text,
    claimed_at timestamptz,
    primary key (source, dirty_date, batch_id)
);

create table if not exists ops.build (
    run_id text primary key,
    dag_id text not null,
    as_of_date date,
    is_full_refresh boolean not null,
    project_digest text not null,
    claimed_at timestamptz not null,
    finished_at timestamptz,
    is_published boolean not null default false
);
create unique index if not exists build_one_at_a_time on ops.build ((true)) where finished_at is null;
alter table ops.build add column if not exists failed_sources text[] not null default '{}';
alter table ops.build add column if not exists left_out text[] not null default '{}';
alter table ops.build add column if not exists unsettled_sources text[] not null default '{}';

create or replace view ops.as_of as
select
    coalesce(
        (select build.as_of_date from ops.build where build.finished_at is null),
        (
            select max(load_batch.window_end) - 1
            from ops.load_batch
            where load_batch.source = 'sales_fact' and load_batch.status = 'loaded'
        )
    ) as as_of_date;

create table if not exists ops.claimed_date (
    run_id text not null,
    source text not null,
    dirty_date date not null,
    batch_id bigint not null,
    claimed_at timestamptz not null,
    primary key (run_id, dirty_date, source, batch_id)
);

create table if not exists ops.rebuild (
    run_id text not null,
    model text not null,
    period text not null check (period in ('day', 'month', 'year', 'all')),
    sources text[] not null,
    rows_inserted bigint not null,
    rows_deleted bigint,
    rebuilt_at timestamptz not null,
    primary key (run_id, model)
);

create or replace view ops.rebuild_reason as
select
    rebuild.run_id,
    rebuild.model,
    rebuild.period,
    date_trunc(rebuild.period, claimed_date.dirty_date::timestamp)::date as period_start,
    claimed_date.dirty_date as changed_date,
    claimed_date.source,
    claimed_date.batch_id,
    load_batch.run_id as loaded_by,
    load_batch.finished_at as loaded_at,
    rebuild.rebuilt_at
from ops.rebuild
inner join ops.claimed_date
    on rebuild.run_id = claimed_date.run_id and claimed_date.source = any(rebuild.sources)
inner join ops.load_batch on claimed_date.batch_id = load_batch.batch_id;

create or replace view ops.source_status as
with loaded as (
    select
        source,
        range_agg(daterange(window_start, window_end)) as days,
        max(finished_at) as loaded_at,
        max(batch_id) as batch_id
    from ops.load_batch
    where status = 'loaded'
    group by source
),
missing as (
    select
        loaded.source,
        sum(upper(gap) - lower(gap)) as days,
        min(lower(gap)) as first_day
    from loaded
    cross join lateral unnest(multirange(range_merge(loaded.days)) - loaded.days) as gap
    group by loaded.source
),
last_ended as (
    select distinct on (source) *
    from ops.load_batch
    where status <> 'running'
    order by source, batch_id desc
)
select
    last_ended.source,
    lower(loaded.days) as first_day,
    upper(loaded.days) - 1 as loaded_through,
    coalesce(missing.days, 0)::integer as missing_days,
    missing.first_day as first_missing_day,
    last_ended.status = 'failed' as is_failed,
    last_ended.error,
    last_ended.window_start,
    last_ended.window_end,
    last_ended.finished_at,
    loaded.loaded_at,
    last_loaded.rows_read,
    last_loaded.bytes_read,
    last_loaded.seconds,
    last_loaded.rows_per_second,
    running.started_at as running_since,
    (
        select count(*)::integer from ops.quarantine
        where quarantine.source = last_ended.source and quarantine.replayed_at is null
    ) as rows_in_quarantine,
    (
        select count(distinct dirty_date.dirty_date)::integer from ops.dirty_date
        where dirty_date.source = last_ended.source
    ) as days_to_rebuild
from last_ended
left join loaded on last_ended.source = loaded.source
left join ops.load_batch as last_loaded on loaded.batch_id = last_loaded.batch_id
left join missing on last_ended.source = missing.source
left join ops.load_batch as running on last_ended.source = running.source and running.status = 'running';

create table if not exists ops.check_result (
    check_result_id bigint generated always as identity primary key,
    checked_at timestamptz not null,
    run_id text not null,
    check_name text not null,
    subject text not null,
    window_start date,
    window_end date,
    status text not null check (status in ('pass', 'warn', 'fail')),
    observed numeric,
    expected numeric,
    message text not null
);
create index if not exists check_result_run on ops.check_result (run_id);
create index if not exists check_result_subject on ops.check_result (check_name, subject, checked_at);

create table if not exists ops.check_failure (
    check_result_id bigint not null references ops.check_result,
    bad_row jsonb not null
);
create index if not exists check_failure_result on ops.check_failure (check_result_id);

create table if not exists ops.publication (
    publication_id bigint not null,
    run_id text not null,
    mart text not null,
    rows_inserted bigint not null,
    rows_updated bigint not null,
    rows_deleted bigint not null,
    published_at timestamptz not null,
    primary key (publication_id, mart)
);
create sequence if not exists ops.publication_id_seq owned by ops.publication.publication_id;

create or replace view ops.quarantine_shown as
select
    quarantine_id,
    batch_id,
    source,
    reason,
    case when jsonb_typeof(payload) = 'object' then payload - 'customer_email' else payload end as payload,
    quarantined_at,
    replayed_at
from ops.quarantine;

alter table ops.publication add column if not exists as_of_date date;
alter table ops.publication add column if not exists undo_by text check (undo_by in ('rows', 'emptying', 'nothing'));
alter table ops.publication add column if not exists columns text[];
alter table ops.publication add column if not exists checksum numeric;
alter table ops.publication add column if not exists restores bigint;
create index if not exists publication_mart on ops.publication (mart, publication_id desc);

create table if not exists ops.publication_delta (
    publication_id bigint not null,
    mart text not null,
    key jsonb not null,
    old_row jsonb
);
create index if not exists publication_delta_mart on ops.publication_delta (mart, publication_id);

create table if not exists ops.published_mart (
    mart text primary key,
    built bigint not null,
    horizon xid8 not null,
    written_by xid8 not null,
    rows bigint not null,
    columns text[] not null,
    checksum bigint not null
);

create table if not exists ops.decision (
    decision_id bigint generated always as identity primary key,
    run_id text not null,
    check_name text not null,
    subjects text[] not null,
    message text not null,
    days date[] not null,
    difference jsonb not null,
    asked_at timestamptz not null,
    decision text check (decision in ('approved', 'rejected', 'unanswered', 'overtaken')),
    decided_at timestamptz,
    decided_by text,
    reason text,
    check ((decision is null) = (decided_at is null))
);
create unique index if not exists decision_open on ops.decision (run_id, check_name) where decision is null;

create table if not exists ops.alert (
    alert_id bigint generated always as identity primary key,
    incident text not null,
    dag_id text not null,
    task_id text,
    check_name text,
    subject text,
    severity text not null check (severity in ('warn', 'fail', 'deadline')),
    observed numeric,
    expected numeric,
    window_start date,
    window_end date,
    message text not null,
    first_run_id text not null,
    last_run_id text not null,
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    times_seen integer not null default 1,
    closed_at timestamptz,
    closed_by text,
    sending_since timestamptz,
    sent_at timestamptz,
    sent_to text[] not null default '{}',
    send_error text
);
create unique index if not exists alert_open on ops.alert (incident) where closed_at is null;
create index if not exists alert_incident on ops.alert (incident, closed_at);
create index if not exists check_result_day on ops.check_result (((checked_at at time zone 'UTC')::date));
create index if not exists check_result_failed on ops.check_result (check_name, subject) where status = 'fail';

grant select on all tables in schema ops to transformer, publisher, inspector;
revoke select on ops.quarantine, ops.check_failure from inspector;

grant insert, update on ops.rebuild to transformer;
grant insert on ops.check_result, ops.check_failure to transformer;

grant insert on ops.check_result, ops.check_failure to publisher;
grant usage on sequence ops.check_result_check_result_id_seq, ops.publication_id_seq to publisher;
grant insert on ops.publication to publisher;
grant insert, delete on ops.publication_delta to publisher;
grant insert, update, delete on ops.published_mart to publisher;
grant insert, update, delete on ops.build to publisher;
grant insert, update, delete on ops.decision to publisher;
grant insert, update on ops.alert to publisher;
grant delete, update (claimed_by, claimed_at) on ops.dirty_date to publisher;
grant update (built_by) on ops.load_batch to publisher;

drop table if exists ops.schema_version;
comment on schema ops is 'include/sql of before';

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
    primary key (_topic, _partition, _offset)
);
create index if not exists kafka_stream_event_date on raw.kafka_stream ((("timestamp" at time zone 'UTC')::date));

create table if not exists raw.sales_fact (
    order_id text primary key,
    product_id text not null,
    customer_id text not null,
    order_date date not null,
    order_amount numeric not null,
    order_quantity integer,
    payment_method text,
    discount_applied numeric,
    shipping_cost numeric,
    created_at timestamp not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null
);
create index if not exists sales_fact_days on raw.sales_fact
using brin (created_at, order_date date_minmax_multi_ops (values_per_range = 64))
with (pages_per_range = 32, autosummarize = on);
drop index if exists raw.sales_fact_created_at, raw.sales_fact_order_date;

create table if not exists raw.weather_data (
    date date not null,
    temperature numeric,
    precipitation numeric,
    city text not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (city, date)
);

create table if not exists raw.product (
    product_id text not null,
    product_name text,
    product_category_id text,
    _valid_from timestamptz not null,
    _is_deleted boolean not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null,
    primary key (product_id, _batch_id)
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
    primary key (customer_id, _batch_id)
);

create table if not exists raw.subscription_data (
    customer_id integer,
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

grant select on all tables in schema raw to transformer, publisher, inspector;
revoke select on raw.customer from inspector;
grant select (
    customer_id, customer_name, start_date, end_date, status, _valid_from, _is_deleted, _batch_id, _loaded_at
) on raw.customer to inspector;
comment on schema raw is 'include/sql of before';

set role publisher;

create or replace view marts.published as
select distinct on (mart)
    mart,
    publication_id,
    run_id,
    published_at,
    as_of_date,
    restores
from ops.publication
order by mart asc, publication_id desc;

grant select on marts.published to reader, inspector;
comment on schema marts is 'include/sql of before';

reset role;

-- Two days were loaded, built and published.
insert into ops.load_batch (
    source, window_start, window_end, status, rows_read, rows_loaded, rows_quarantined, started_at, finished_at, run_id,
    built_by
)
values
('sales_fact', '2024-03-01', '2024-03-03', 'loaded', 4, 3, 1, '2024-03-03 01:00Z', '2024-03-03 01:01Z', 'first', 'first'),
('product_category', '2024-03-01', '2024-03-03', 'loaded', 2, 2, 0, '2024-03-03 01:00Z', '2024-03-03 01:01Z', 'first', 'first'),
('subscription_data', '2024-03-01', '2024-03-03', 'loaded', 2, 2, 0, '2024-03-03 01:00Z', '2024-03-03 01:01Z', 'first', 'first'),
('kafka_stream', '2024-03-01', '2024-03-03', 'loaded', 1, 1, 0, '2024-03-03 01:00Z', '2024-03-03 01:01Z', 'first', 'first');

insert into raw.sales_fact (
    order_id, product_id, customer_id, order_date, order_amount, payment_method, discount_applied, created_at, _batch_id,
    _loaded_at
)
select 'O' || n, 'P1', 'CUST001', '2024-03-01', n, 'card', 0.10, '2024-03-01 12:00', 1, '2024-03-03 01:00Z'
from generate_series(1, 3) as n;

insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
values (
    1, 'sales_fact', 'order_amount is negative: -1',
    '{"order_id": "O4", "product_id": "P1", "customer_id": "CUST001", "order_date": "2024-03-01", "order_amount": "-1",
      "order_quantity": null, "payment_method": "card", "discount_applied": "0.10", "shipping_cost": null,
      "created_at": "2024-03-01 12:00:00"}',
    '2024-03-03 01:00Z'
);

-- The second was changed on a day of the future, and its id ends with a tab.
insert into raw.product_category (
    product_id, category_id, category_name, last_updated, _valid_from, _is_deleted, _batch_id, _loaded_at
)
values
('P1', 'K1', 'Cups', '2024-01-01', '2024-01-01 00:00Z', false, 2, '2024-03-03 01:00Z'),
(E'P2\t', 'K1', 'Cups', '2054-01-01', '2054-01-01 00:00Z', false, 2, '2024-03-03 01:00Z');

insert into raw.subscription_data (
    customer_id, subscription_id, plan_type, subscription_start_date, monthly_fee, status, _valid_from, _is_deleted,
    _batch_id, _loaded_at
)
values
(1, 'S1', 'Basic', '2024-01-01', 5, 'Active', '2024-03-03 01:00Z', false, 3, '2024-03-03 01:00Z'),
(1000, 'S2', 'Basic', '2024-01-01', 5, 'Active', '2024-03-03 01:00Z', false, 3, '2024-03-03 01:00Z');

insert into raw.kafka_stream
values ('CUST001', 'P1', 'view', '2024-03-01 10:00Z', 'customer_interactions', 0, 41, '2024-03-01 10:00Z', 4, '2024-03-03 01:00Z');
insert into ops.kafka_offset (topic, "partition", next_offset, batch_id) values ('customer_interactions', 0, 42, 4);

insert into ops.dirty_date (source, dirty_date, batch_id, marked_at) values ('sales_fact', '2024-03-02', 1, '2024-03-03 01:00Z');
insert into ops.build (run_id, dag_id, as_of_date, is_full_refresh, project_digest, claimed_at, finished_at, is_published)
values ('first', 'ecommerce_warehouse', '2024-03-02', true, 'd', '2024-03-03 01:02Z', '2024-03-03 01:03Z', true);
insert into ops.rebuild (run_id, model, period, sources, rows_inserted, rebuilt_at)
values ('first', 'daily_revenue', 'day', '{sales_fact}', 2, '2024-03-03 01:02Z');
insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
values ('2024-03-03 01:02Z', 'first', 'quarantined', 'sales_fact', 'warn', '1 of 4 rows');

-- The last of two publications changed one row of a mart: it can be undone.
set role publisher;
create table marts.daily_revenue (order_date date primary key, revenue numeric);
insert into marts.daily_revenue values ('2024-03-01', 6);
create table marts.product_performance_monthly (product_id text primary key, category_rank bigint not null);
create table marts.seasonal_sales_analysis (sales_month date primary key, percent_of_average numeric not null);
insert into ops.publication (
    publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at, as_of_date, undo_by, columns,
    checksum
)
values
(
    nextval('ops.publication_id_seq'), 'before', 'daily_revenue', 1, 0, 0, '2024-03-02 01:03Z', '2024-03-01', 'emptying',
    '{order_date,revenue}', hash_record_extended(row(date '2024-03-01', numeric '5'), 0)
),
(
    nextval('ops.publication_id_seq'), 'first', 'daily_revenue', 0, 1, 0, '2024-03-03 01:03Z', '2024-03-02', 'rows',
    '{order_date,revenue}', hash_record_extended(row(date '2024-03-01', numeric '6'), 0)
);
insert into ops.publication_delta (publication_id, mart, key, old_row)
values (2, 'daily_revenue', '{"order_date": "2024-03-01"}', '{"order_date": "2024-03-01", "revenue": 5}');
reset role;

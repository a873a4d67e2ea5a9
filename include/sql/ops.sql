-- Operations: the load ledger, Kafka offsets, the quarantine, dirty dates, check results, publications.
-- Applied by the owner of the schema, `publisher`, when this file has changed: see
-- plugins/ecommerce/common/database_schema.py. A table that is there is changed by a file in `migrations`, and here, so
-- that new warehouses have the same.

-- The shop's days: `ops.shop_day(instant)`, `ops.shop_midnight(day)`, `ops.shop_time_zone()`. The loader puts the time
-- zone of the shop's profile in the place of :'time_zone', and applies this file again when it has changed.
do $do$
declare
    zone constant text := :'time_zone';
    previous text := 'UTC';
    midnight text := format('day::timestamp at time zone %L', zone);
    -- Where clocks skip midnight or strike it twice, a day begins one second after the last one of the day before.
    first_second constant text := format(
        $sql$((day::timestamp - interval '1 second') at time zone %1$L at time zone 'UTC' + interval '1 second')
            at time zone 'UTC'$sql$,
        zone
    );
    is_same boolean;
begin
    if to_regprocedure('ops.shop_time_zone()') is not null then
        execute 'select ops.shop_time_zone()' into previous;
    end if;
    execute format(
        $sql$select bool_and(%s = %s) from generate_series(date '1970-01-01', '2069-12-31', interval '1 day') as day$sql$,
        midnight,
        first_second
    ) into is_same;
    if not is_same then
        midnight := format('least(%s, %s)', midnight, first_second);
    end if;
    execute format(
        $sql$
        create or replace function ops.shop_time_zone() returns text
            language sql immutable parallel safe return %1$L;
        create or replace function ops.shop_day(instant timestamptz) returns date
            language sql immutable parallel safe return (instant at time zone %1$L)::date;
        create or replace function ops.shop_midnight(day date) returns timestamptz
            language sql immutable parallel safe return %2$s
        $sql$,
        zone,
        midnight
    );
    if zone <> previous then
        -- Of days of the time zone before; this file and raw.sql create them again.
        drop index if exists ops.check_result_day;
        drop table if exists ops.loaded_day;
    end if;
end
$do$;

-- The country of the shop's profile, and null without one: the loader puts it in the place of :'country'. The public
-- holidays of that country are written by the loader as well (plugins/ecommerce/common/public_holidays.py).
create or replace function ops.shop_country() returns text
    language sql immutable parallel safe return :'country'::text;

create table if not exists ops.holiday (
    holiday_date date primary key,
    holiday_name text not null
);

-- The changes of `migrations` that this warehouse has; a new one has them from the start. When, and by whom, a role
-- cannot choose.
create table if not exists ops.migration (
    number integer primary key,
    name text not null,
    digest text not null, -- of the file
    applied_at timestamptz not null default clock_timestamp(),
    applied_by name not null default current_user
);

-- A text without white space at its ends, null if nothing is left. The loader puts the characters of
-- plugins/ecommerce/common/blanks.py in the place of :'blanks'. Postgres inlines it. What nearly every text is, ASCII
-- with a visible character at both ends, is decided without looking for them.
create or replace function ops.clean_text(value text) returns text
language sql immutable parallel safe
return case
    when octet_length(value) = length(value)
        and value collate "C" >= '!' and right(value, 1) collate "C" >= '!'
        then value
    else nullif(btrim(value, :'blanks'), '')
end;

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
    rows_removed bigint not null default 0, -- were in raw, and are gone from the source
    rows_refused bigint not null default 0, -- rejected, also those that were known
    bytes_read bigint not null default 0,
    started_at timestamptz not null,
    finished_at timestamptz,
    dag_id text,
    run_id text,
    try_number integer,
    error text,
    built_by text, -- the run whose models were built with it
    seconds numeric generated always as (round(extract(epoch from finished_at - started_at), 3)) stored,
    rows_per_second numeric
        generated always as (round(rows_read / nullif(extract(epoch from finished_at - started_at), 0))) stored,
    check (window_start < window_end),
    check (status <> 'loaded' or rows_read = rows_loaded + rows_unchanged + rows_quarantined)
);
create index if not exists load_batch_source_window on ops.load_batch (source, status, window_end);

-- Rows of raw of each day of the windows, as the last load of the day has left them. Only of sources that replace their
-- window; of all others each batch has its rows for ever.
create table if not exists ops.loaded_day (
    source text not null,
    day date not null,
    rows bigint not null,
    batch_id bigint not null, -- the last that changed the number
    primary key (source, day)
);

-- Columns of a source's table that are new, missing or retyped, each noted once. A column that is not required and that
-- the source never had is none of these.
create table if not exists ops.schema_change (
    source text not null,
    column_name text not null,
    change text not null check (change in ('new', 'missing', 'retyped')),
    expected text, -- the type that raw has; null for a new column
    found text, -- the type at the source; null for a missing column
    policy text not null check (policy in ('ignore', 'evolve', 'fail')),
    batch_id bigint not null references ops.load_batch,
    noticed_at timestamptz not null,
    last_batch_id bigint not null references ops.load_batch,
    last_seen_at timestamptz not null,
    unique nulls not distinct (source, column_name, change, found)
);

-- Columns of the registry that a source's table has had in a load. One that is not required, and was never there, is
-- null; one that was there and is gone fails the load.
create table if not exists ops.source_column (
    source text not null,
    column_name text not null,
    batch_id bigint not null references ops.load_batch, -- the first that had it, or the last before this table
    first_seen_at timestamptz not null,
    primary key (source, column_name)
);

-- Schemas of a registry by which messages of a topic were decoded: what the next one differs from.
create table if not exists ops.message_schema (
    source text not null,
    schema_id bigint not null, -- in the registry
    name text not null, -- of the record: it is compared with the schema before of the same name
    fields jsonb not null, -- field → its type
    batch_id bigint not null references ops.load_batch, -- the first that had a message of it
    first_seen_at timestamptz not null,
    primary key (source, schema_id)
);

create table if not exists ops.kafka_offset (
    topic text not null,
    "partition" integer not null,
    next_offset bigint not null,
    batch_id bigint not null references ops.load_batch,
    topic_id text, -- from the broker; a topic that was deleted and created again has another
    primary key (topic, "partition")
);

-- Offsets, both inclusive, that have no message, neither at the broker nor in the warehouse.
create table if not exists ops.kafka_gap (
    topic text not null,
    "partition" integer not null,
    first_offset bigint not null,
    last_offset bigint not null,
    -- 'retention': lost; 'transaction': there never was a message; 'compaction or transaction': one of the two
    cause text not null check (cause in ('retention', 'transaction', 'compaction or transaction')),
    batch_id bigint not null references ops.load_batch,
    noticed_at timestamptz not null,
    primary key (topic, "partition", first_offset),
    check (first_offset <= last_offset)
);

-- No foreign keys to `load_batch`: to check them took longer than all else of storing a row, and a load with rejected rows
-- is not deleted (plugins/ecommerce/prune/prunable_tables.py).
create table if not exists ops.quarantine (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null, -- of `load_batch`
    source text not null,
    reason text not null,
    payload jsonb not null,
    quarantined_at timestamptz not null,
    replayed_at timestamptz, -- when a load wrote it to raw
    replayed_batch_id bigint,
    corrected jsonb -- a message's value as a person has corrected it, for `replay_quarantine`
);
create index if not exists quarantine_batch on ops.quarantine (batch_id);
-- Rejected rows that wait to be replayed. A row that is read again is recognised by a digest of its payload, see
-- plugins/ecommerce/load/quarantine.py; an index of that took a third of the time of storing a row.
create index if not exists quarantine_waiting on ops.quarantine (source) where replayed_at is null;

create table if not exists ops.dirty_date (
    source text not null,
    dirty_date date not null,
    batch_id bigint not null references ops.load_batch,
    marked_at timestamptz not null,
    claimed_by text,
    claimed_at timestamptz,
    primary key (source, dirty_date, batch_id)
);

-- One row for each run that builds: the lease, and the days that the run builds for (see the view `as_of`).
create table if not exists ops.build (
    run_id text primary key,
    dag_id text not null,
    as_of_date date,
    is_full_refresh boolean not null,
    project_digest text not null, -- of the dbt project's files
    claimed_at timestamptz not null,
    finished_at timestamptz,
    is_published boolean not null default false,
    -- What the run excluded because sources failed to load: these sources, the models that depend on them (`left_out`),
    -- and the sources whose dirty dates stay for the next run, since a model that uses them was excluded.
    failed_sources text[] not null default '{}',
    left_out text[] not null default '{}',
    unsettled_sources text[] not null default '{}',
    -- What the run was asked to load, by its own form: its checks and its publication go by this, whatever an XCom says.
    -- Null in builds before these columns, and in those of no run.
    window_start date,
    window_end date,
    requested_sources text[],
    is_build_needed boolean not null default false, -- before the run publishes
    -- The first day of the earliest window that was loaded for sales at the claim; null in builds before this column.
    first_covered_date date,
    time_zone text not null, -- whose days the models were built of
    country text, -- with whose holidays; null without a country
    -- Model → what its table was made by, see plugins/ecommerce/build/model_digests.py; null where that is not known.
    -- Null in builds before this column.
    model_digests jsonb,
    refreshed_models text[] not null default '{}' -- rebuilt from all rows, since they have changed
);
create unique index if not exists build_one_at_a_time on ops.build ((true)) where finished_at is null;
-- No migration can set these defaults: the functions are made above.
alter table ops.build
    alter column time_zone set default ops.shop_time_zone(),
    alter column country set default ops.shop_country();

-- "Today" for every model, and the first day that is covered: those of the running build, otherwise the last and the
-- first day for which sales are loaded. What is loaded while a run builds does not change its days.
create or replace view ops.as_of as
select
    coalesce(
        (select build.as_of_date from ops.build where build.finished_at is null),
        (
            select max(load_batch.window_end) - 1
            from ops.load_batch
            where load_batch.source = 'sales_fact' and load_batch.status = 'loaded'
        )
    ) as as_of_date,
    coalesce(
        (select build.first_covered_date from ops.build where build.finished_at is null),
        (
            select min(load_batch.window_start)
            from ops.load_batch
            where load_batch.source = 'sales_fact' and load_batch.status = 'loaded'
        )
    ) as first_covered_date;

-- The dirty dates that a run has claimed: why a day was rebuilt, kept when the publication clears `dirty_date`.
create table if not exists ops.claimed_date (
    run_id text not null,
    source text not null,
    dirty_date date not null,
    batch_id bigint not null,
    claimed_at timestamptz not null,
    primary key (run_id, dirty_date, source, batch_id)
);

-- How a run has rebuilt a model. `period`: only the claimed days of `sources`, the months or years of these days, or
-- the whole model.
create table if not exists ops.rebuild (
    run_id text not null,
    model text not null,
    period text not null check (period in ('day', 'week', 'month', 'year', 'all')),
    sources text[] not null,
    rows_inserted bigint not null,
    rows_deleted bigint, -- null for a model that was created anew
    rebuilt_at timestamptz not null,
    primary key (run_id, model)
);

-- Why did this run rebuild this day, week, month or year of a model? One row for each claimed period, source and load.
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

-- How far each source is loaded, and what is wrong with it. One row for each source that was ever read.
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
    select distinct on (source)
        source,
        status,
        error,
        window_start,
        window_end,
        finished_at
    from ops.load_batch
    where status <> 'running'
    order by source, batch_id desc
)
select
    last_ended.source,
    lower(loaded.days) as first_day,
    upper(loaded.days) - 1 as loaded_through,
    coalesce(missing.days, 0)::integer as missing_days, -- between the first and the last
    missing.first_day as first_missing_day,
    last_ended.status = 'failed' as is_failed, -- the last load
    last_ended.error,
    last_ended.window_start,
    last_ended.window_end,
    last_ended.finished_at,
    loaded.loaded_at, -- the last one that loaded, of any window
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
    message text not null,
    -- The role that recorded it: the publication goes by no result of a check that `transformer` has written.
    recorded_by name not null default current_user
);
create index if not exists check_result_run on ops.check_result (run_id);
create index if not exists check_result_subject on ops.check_result (check_name, subject, checked_at);

-- Bad rows as a check found them: only the first ones, and never overwritten by a later check.
create table if not exists ops.check_failure (
    check_result_id bigint not null references ops.check_result,
    bad_row jsonb not null
);
create index if not exists check_failure_result on ops.check_failure (check_result_id);

-- `undo_by`: how to undo the publication of this mart: by the rows in `publication_delta`; by emptying the mart, which
-- was empty before; or not at all, since the table was created anew. The checksum is of the rows afterwards, over
-- `columns`.
create table if not exists ops.publication (
    publication_id bigint not null,
    run_id text not null,
    mart text not null,
    rows_inserted bigint not null,
    rows_updated bigint not null,
    rows_deleted bigint not null,
    published_at timestamptz not null,
    as_of_date date,
    undo_by text check (undo_by in ('rows', 'emptying', 'nothing')),
    columns text[],
    checksum numeric,
    restores bigint, -- a rollback: the publication that it restored
    primary key (publication_id, mart)
);
create index if not exists publication_mart on ops.publication (mart, publication_id desc);
create sequence if not exists ops.publication_id_seq owned by ops.publication.publication_id;

-- A text without e-mail addresses: :'e_mail' is the pattern of one, see plugins/ecommerce/common/shown_text.py.
create or replace function ops.without_e_mails(value text) returns text
language sql immutable parallel safe
return case when strpos(value, '@') = 0 then value else regexp_replace(value, :'e_mail', :'hidden', 'g') end;

-- The names of the columns that say who a person is. The loader puts the columns of each source in the registry, and
-- whether they are personal, in the place of :'columns'.
create or replace function ops.personal_columns() returns text[]
language sql immutable parallel safe
return array(
    select distinct registered.key
    from jsonb_each(:'columns') as source (name, columns)
    cross join lateral jsonb_each(source.columns) as registered
    where registered.value = 'true'
);

-- raw.sql calls it: `inspector` reads no personal column of raw, and of a table with one no column that the registry does
-- not know.
create or replace function ops.hide_personal_columns_of_raw(sources jsonb) returns void language plpgsql as $$
declare
    masked record;
begin
    for masked in
        select
            source.name,
            string_agg(quote_ident(pg_attribute.attname), ', ') as visible
        from jsonb_each(sources) as source (name, columns)
        inner join pg_attribute on pg_attribute.attrelid = to_regclass(format('raw.%I', source.name))
        where
            source.columns @? '$.* ? (@ == true)'
            and pg_attribute.attnum > 0
            and not pg_attribute.attisdropped
            and (starts_with(pg_attribute.attname, '_') or source.columns -> pg_attribute.attname::text = 'false')
        group by source.name
    loop
        execute format('revoke select on raw.%I from inspector', masked.name);
        execute format('grant select (%s) on raw.%I to inspector', masked.visible, masked.name);
    end loop;
end
$$;

-- Of a rejected row or message the columns that the registry has, less the personal ones. Something else than a text or a
-- number may have anything in it.
create or replace function ops.shown_fields(fields jsonb, source text) returns jsonb
language sql immutable parallel safe
return (
    select
        jsonb_object_agg(
            field.key,
            case jsonb_typeof(field.value)
                when 'string' then to_jsonb(ops.without_e_mails(field.value #>> '{}'))
                when 'object' then '"(not shown)"'
                when 'array' then '"(not shown)"'
                else field.value
            end
        )
    from jsonb_each(case when jsonb_typeof(fields) = 'object' then fields end) as field
    where :'columns'::jsonb #> array[source, field.key] = 'false'
);

-- The keys of a message, a line each: its fields that end in `_id` and are no personal ones. Something else than a text or a
-- number may have anything in it.
create or replace function ops.key_values(fields jsonb, source text) returns text
language sql immutable parallel safe
return (
    select string_agg(ops.without_e_mails(field.value #>> '{}'), e'\n')
    from jsonb_each(case when jsonb_typeof(fields) = 'object' then fields end) as field
    where
        field.key like '%\_id'
        and jsonb_typeof(field.value) in ('string', 'number')
        and :'columns'::jsonb #> array[source, field.key] = 'false'
);

-- Rejected rows as the pages show them: the columns of the source that are not personal, and of a message those fields and
-- its place. Without the content of a row that is so long that to read a hundred of them takes longer than a page may.
-- The size is that of the stored form, which can be told without reading it.
create or replace view ops.quarantine_shown as
select
    quarantine_id,
    batch_id,
    source,
    ops.without_e_mails(left(reason, 1000)) as reason,
    case
        when pg_column_size(payload) > 8000
            then jsonb_build_object(
                'not shown',
                format('the row takes %s bytes; it is in ops.quarantine, quarantine_id %s',
                    pg_column_size(payload), quarantine_id)
            )
        when jsonb_typeof(payload) is distinct from 'object' then '{}'
        when payload ? 'offset'
            then jsonb_strip_nulls(
                jsonb_build_object(
                    'topic', payload -> 'topic',
                    'partition', payload -> 'partition',
                    'offset', payload -> 'offset',
                    'published_at', payload -> 'published_at',
                    'value', case
                        when pg_input_is_valid(payload ->> 'value', 'jsonb')
                            then ops.shown_fields((payload ->> 'value')::jsonb, source)
                    end,
                    'corrected', ops.shown_fields(payload -> 'corrected', source)
                )
            )
        else coalesce(ops.shown_fields(payload, source), '{}')
    end as payload,
    quarantined_at,
    replayed_at,
    case
        when pg_column_size(payload) <= 8000
            then ops.without_e_mails(left(coalesce(payload ->> 'created_at', payload ->> 'timestamp'), 100))
    end as own_time,
    case when pg_column_size(payload) <= 8000 then ops.without_e_mails(left(payload ->> 'date', 100)) end as own_day,
    -- The keys of the row, a line each. Those of a table's row are named here, since they are searched in many rows.
    case
        when pg_column_size(payload) > 8000 then null
        when not payload ? 'offset'
            then ops.without_e_mails(
                concat_ws(
                    e'\n', payload ->> 'order_id', payload ->> 'refund_id', payload ->> 'customer_id',
                    payload ->> 'product_id', payload ->> 'product_category_id', payload ->> 'category_id',
                    payload ->> 'supplier_id', payload ->> 'subscription_id'
                )
            )
        when pg_input_is_valid(payload ->> 'value', 'jsonb')
            then ops.key_values((payload ->> 'value')::jsonb, source)
    end as keys
from ops.quarantine;

-- What the last publications replaced: a row as it was before, by its key; null if there was no such row.
create table if not exists ops.publication_delta (
    publication_id bigint not null,
    mart text not null,
    key jsonb not null,
    old_row jsonb
);
create index if not exists publication_delta_mart on ops.publication_delta (mart, publication_id);

-- What the next publication of a mart may rely on, see plugins/ecommerce/publish/merge.py. One row for each mart; none
-- if the last change of the mart was no publication.
create table if not exists ops.published_mart (
    mart text primary key,
    built bigint not null, -- oid of the table of marts_build that the mart is equal to
    horizon xid8 not null, -- rows of that table written by an earlier transaction have been compared
    written_by xid8 not null, -- the publication's transaction: no row of the mart is newer
    rows bigint not null,
    columns text[] not null,
    checksum bigint not null
);

-- A question of a check that stopped a publication: may it be published all the same? A person decides.
create table if not exists ops.decision (
    decision_id bigint generated always as identity primary key,
    run_id text not null,
    check_name text not null,
    subjects text[] not null, -- subjects of the check that failed
    message text not null, -- of the failed subjects
    days date[] not null, -- days for which it failed
    difference jsonb not null, -- what would change, see plugins/ecommerce/publish/preview.py
    asked_at timestamptz not null,
    decision text check (decision in ('approved', 'rejected', 'unanswered', 'overtaken')), -- null: not decided yet
    decided_at timestamptz,
    decided_by text,
    reason text,
    -- What is approved: figures of days, by subject, and a digest of `difference`. Null in decisions of before these
    -- columns, which approve nothing any more.
    figures jsonb,
    digest text,
    answer_until timestamptz, -- when the check fails if nobody answers; null in questions of before this column
    -- The rollback that has undone what was approved: it is asked again.
    revoked_at timestamptz,
    revoked_by text,
    check ((decision is null) = (decided_at is null))
);
create unique index if not exists decision_open on ops.decision (run_id, check_name) where decision is null;

-- What a person has said of an order that breaks a rule: one row each time, never changed. The last one counts. The role
-- `reviewer` writes them for the page *Review*; when, and by which number, it cannot choose.
create table if not exists ops.review (
    review_id bigint generated always as identity primary key,
    order_id text not null check (order_id <> ''),
    status text not null check (status in ('fine', 'watch', 'problem')),
    note text not null check (length(note) <= 2000),
    rules text[] not null, -- that the order broke when it was reviewed
    reviewed_by text not null check (reviewed_by <> ''), -- the user of Airflow
    reviewed_at timestamptz not null default clock_timestamp()
);
create index if not exists review_order on ops.review (order_id, review_id desc);

-- One row for each erasure of a customer (GDPR, article 17): the receipt, which names nobody. `erased_at` is null while
-- it is not done; then the same request goes on where it was.
create table if not exists ops.erasure (
    erasure_id bigint generated always as identity primary key,
    run_id text not null,
    requested_by text, -- the user of Airflow
    requested_at timestamptz not null default clock_timestamp(),
    erased_at timestamptz,
    customers integer not null, -- keys: an e-mail address may be that of several
    places jsonb not null default '{}' -- table and column → values that were replaced
);

-- What a load must not bring back: the salted hash of a customer's key with the key that takes its place, that of an
-- e-mail address, and that of the key of a row that says something of the customer without naming the customer.
create table if not exists ops.erased_value (
    kind text not null, -- `customer_id`, `e_mail`, or the source of the row
    value_hash bytea not null,
    replacement text, -- of a customer's key
    erasure_id bigint not null references ops.erasure,
    primary key (kind, value_hash)
);

-- The salt of the hashes. Without it nobody can find out whose they are by trying all keys; so only those see it who
-- compute hashes.
create table if not exists ops.erasure_salt (
    salt bytea not null
);
create unique index if not exists erasure_salt_one on ops.erasure_salt ((true));
insert into ops.erasure_salt (salt)
select uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
where not exists (select from ops.erasure_salt);

-- What `prune_warehouse` has deleted: one row for each run and table, also where nothing was old enough.
create table if not exists ops.pruning (
    run_id text not null,
    place text not null, -- a table, or `airflow.logs`
    deleted bigint not null, -- rows, or files
    bytes bigint not null, -- of these, without indexes
    older_than timestamptz not null,
    pruned_at timestamptz not null default clock_timestamp(), -- the last of them
    primary key (run_id, place)
);

-- One row for each incident: opened when a problem is first seen, closed when it is gone.
create table if not exists ops.alert (
    alert_id bigint generated always as identity primary key,
    incident text not null, -- `<dag> <check> <subject>`, `<dag>.<task>` or `<dag> deadline`
    dag_id text not null,
    task_id text, -- of a task that failed
    check_name text, -- of a check that failed, with its subject and figures
    subject text,
    severity text not null check (severity in ('warn', 'fail', 'deadline')), -- the highest since it was opened
    observed numeric,
    expected numeric,
    window_start date,
    window_end date, -- of the latest run with the problem; only a run that reaches as far closes it
    message text not null,
    first_run_id text not null,
    last_run_id text not null,
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    times_seen integer not null default 1,
    closed_at timestamptz,
    closed_by text, -- the run
    sending_since timestamptz, -- a task is sending the alert
    sent_at timestamptz, -- all connections have accepted it
    sent_to text[] not null default '{}', -- the connections that have accepted it
    send_error text
);
create unique index if not exists alert_open on ops.alert (incident) where closed_at is null;
create index if not exists alert_incident on ops.alert (incident, closed_at);

-- One row for each digest that is sent: one a day of the shop, and one for each as-of date.
create table if not exists ops.digest (
    digest_day date primary key, -- the day of the shop on which it is sent
    as_of_date date not null unique, -- whose figures it has
    publication_id bigint not null,
    run_id text not null, -- that has published
    created_at timestamptz not null default clock_timestamp(),
    sending_since timestamptz, -- a task is sending it
    sent_at timestamptz, -- all connections that want it have accepted it
    sent_to text[] not null default '{}', -- the connections that have accepted it
    send_error text
);

-- What a person has said of an incident: one row each time, never changed. The last one counts. The role `reviewer`
-- writes them for the page of the incident; when, and by which number, it cannot choose.
create table if not exists ops.incident_note (
    incident_note_id bigint generated always as identity primary key,
    incident text not null check (incident <> ''),
    owner text check (length(owner) between 1 and 200), -- who looks after it; null: nobody
    silent_until timestamptz, -- no alert of it is sent before; null: alerts are sent
    note text not null check (length(note) <= 2000),
    noted_by text not null check (noted_by <> ''), -- the user of Airflow
    noted_at timestamptz not null default clock_timestamp()
);
create index if not exists incident_note_incident on ops.incident_note (incident, incident_note_id desc);

-- Who looks after an incident, and until when no alert of it is sent: a row for each that a person has said something of.
create or replace view ops.incident_state as
select distinct on (incident)
    incident,
    owner,
    silent_until,
    noted_by,
    noted_at
from ops.incident_note
order by incident asc, incident_note_id desc;

-- Results by day, and failures, for the history of checks.
create index if not exists check_result_day on ops.check_result (ops.shop_day(checked_at));
create index if not exists check_result_failed on ops.check_result (check_name, subject) where status = 'fail';

-- Replaces a view in place if its columns stay; otherwise it is dropped with what reads it, and made again. For dbt, which
-- runs it with its own rights.
create or replace function ops.replace_view(view_name text, query text) returns void language plpgsql as $$
begin
    execute format(E'create or replace view %s as (\n%s\n)', view_name, query);
exception when invalid_table_definition then
    -- A column is gone, or has another name or type.
    execute format('drop view %s cascade', view_name);
    execute format(E'create view %s as (\n%s\n)', view_name, query);
end
$$;

-- What the loader calls for raw, in raw.sql and in a migration. It runs these functions with its own rights, and may
-- write none itself.

-- The index of the shop's days is made again after a change of the shop's time zone.
create or replace function ops.drop_index_of_another_time_zone() returns void language plpgsql as $$
begin
    if coalesce(
        obj_description(to_regclass('raw.kafka_stream_event_date'), 'pg_class'),
        (select time_zone from ops.build order by claimed_at desc limit 1)
    ) <> ops.shop_time_zone() then
        drop index if exists raw.kafka_stream_event_date;
    end if;
end
$$;

create or replace function ops.note_time_zone_of_index() returns void language plpgsql as $$
begin
    execute format('comment on index raw.kafka_stream_event_date is %L', ops.shop_time_zone());
end
$$;

-- Only migration 0002 of raw calls the four functions that follow, since the loader may write none itself. They are part
-- of that migration: they do not change, and go together with the support of warehouses from before it.
create or replace function ops.upgrade_sales_fact() returns void language plpgsql as $$
begin
    if exists (
        select from pg_constraint
        where conrelid = 'raw.sales_fact'::regclass and contype = 'p' and array_length(conkey, 1) = 1
    ) then
        alter table raw.sales_fact drop constraint sales_fact_pkey;
        alter table raw.sales_fact add primary key (order_id, line_number);
    end if;
end
$$;

create or replace function ops.upgrade_product_category() returns void language plpgsql as $$
begin
    with ordered as (
        select
            *,
            case
                when lag(_is_deleted) over versions then lag(last_updated, 2) over versions
                else lag(last_updated) over versions
            end as previous_update
        from raw.product_category
        window versions as (partition by product_id order by _batch_id)
    ),
    dated as (
        select
            product_id,
            _batch_id,
            max(
                case
                    when _is_deleted or last_updated is null or last_updated <= previous_update then _loaded_at
                    when _valid_from > _loaded_at then least(ops.shop_midnight(last_updated), _loaded_at)
                    else _valid_from
                end
            ) over (partition by product_id order by _batch_id) as valid_from
        from ordered
    )
    update raw.product_category as version
    set _valid_from = dated.valid_from
    from dated
    where version.product_id = dated.product_id
        and version._batch_id = dated._batch_id
        and version._valid_from <> dated.valid_from;
    if found then
        update ops.build
        set project_digest = 'before times of raw.product_category were repaired'
        where claimed_at = (select max(claimed_at) from ops.build where is_published);
    end if;
end
$$;

create or replace function ops.upgrade_subscription_data() returns void language plpgsql as $$
begin
    if (
        select atttypid from pg_attribute where attrelid = 'raw.subscription_data'::regclass and attname = 'customer_id'
    ) = 'integer'::regtype then
        alter table raw.subscription_data add column customer_text text;
        update raw.subscription_data
        set customer_text = 'CUST' || lpad(customer_id::text, greatest(length(customer_id::text), 3), '0');
        -- With the view of staging, which the next build creates again.
        alter table raw.subscription_data drop column customer_id cascade;
        alter table raw.subscription_data rename column customer_text to customer_id;
    end if;
end
$$;

create or replace function ops.trim_keys_of_raw() returns void language plpgsql as $$
declare
    log record;
begin
    for log in
        select *
        from (
            values
                ('product', 'product_id'),
                ('product_category', 'product_id'),
                ('customer', 'customer_id'),
                ('subscription_data', 'subscription_id')
        ) as logs (table_name, key)
    loop
        execute format(
            $sql$
            with repeated as (
                delete from raw.%1$I
                where ctid in (
                    select version_id
                    from (
                        select
                            ctid as version_id,
                            row_number() over (
                                partition by ops.clean_text(%2$I), _batch_id
                                order by %2$I = ops.clean_text(%2$I) desc, %2$I
                            ) as place
                        from raw.%1$I
                    ) as versions
                    where place > 1
                )
                returning _batch_id, _is_deleted
            ),
            by_batch as (
                select
                    _batch_id,
                    count(*) filter (where not _is_deleted) as versions,
                    count(*) filter (where _is_deleted) as tombstones
                from repeated
                group by _batch_id
            )
            update ops.load_batch
            set
                rows_loaded = rows_loaded - by_batch.versions,
                rows_unchanged = rows_unchanged + by_batch.versions,
                rows_removed = rows_removed - by_batch.tombstones
            from by_batch
            where load_batch.batch_id = by_batch._batch_id;
            update raw.%1$I
            set %2$I = ops.clean_text(%2$I)
            where %2$I <> ops.clean_text(%2$I)
            $sql$,
            log.table_name,
            log.key
        );
    end loop;
end
$$;

-- All roles that read ops may read all of it; but `inspector` sees no personal data.
grant select on all tables in schema ops to loader, transformer, publisher, inspector;
revoke select on ops.quarantine, ops.check_failure from inspector;
revoke select on ops.erasure_salt from transformer, inspector;

-- A load writes its rows and what it knows of them; the claim takes the lease and all dirty dates.
grant insert, update on
ops.load_batch,
ops.loaded_day,
ops.schema_change,
ops.source_column,
ops.message_schema,
ops.kafka_offset,
ops.kafka_gap,
ops.quarantine,
ops.dirty_date,
ops.build
to loader;
grant insert (number, name, digest) on ops.migration to loader;
grant insert, delete on ops.claimed_date to loader;
grant insert, update on ops.pruning to loader;

-- A build notes how it has rebuilt a model, and the results of its tests; not who has recorded them.
grant insert, update on ops.rebuild to transformer;
revoke insert on ops.check_result from transformer;
grant insert (
    checked_at, run_id, check_name, subject, window_start, window_end, status, observed, expected, message
) on ops.check_result to transformer;
grant insert on ops.check_failure to transformer;

-- The audit writes its results. A publication is recorded, ends its build, clears the dirty dates of the build and
-- notes its batches; a verification holds the lease meanwhile.
grant insert on ops.check_result, ops.check_failure to publisher;
grant usage on sequence ops.check_result_check_result_id_seq, ops.publication_id_seq to publisher;
grant insert on ops.publication to publisher;
grant insert, delete on ops.publication_delta to publisher;
grant insert, update, delete on ops.published_mart to publisher;
grant insert, update, delete on ops.build to publisher;
grant insert, update, delete on ops.decision to publisher;
grant insert, update on ops.alert, ops.digest to publisher;
grant delete, update (claimed_by, claimed_at) on ops.dirty_date to publisher;
grant update (built_by) on ops.load_batch to publisher;

-- A review or a note is added, and nothing else; in a warehouse whose administrator has not made the role yet, none is.
do $$
begin
    if to_regrole('previewer') is not null then
        revoke select on ops.erasure_salt from previewer;
    end if;
    if to_regrole('reviewer') is not null then
        grant insert (order_id, status, note, rules, reviewed_by) on ops.review to reviewer;
        grant insert (incident, owner, silent_until, note, noted_by) on ops.incident_note to reviewer;
    end if;
end
$$;

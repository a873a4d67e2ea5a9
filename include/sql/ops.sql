-- Operations: the load ledger, Kafka positions, refused rows, days to rebuild, check results, publications.
-- Applied by the owner of the schema, `loader`, whenever this file changes (see plugins/ecommerce/common/connections.py).

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
    rows_removed bigint not null default 0, -- held before, gone from the source now
    started_at timestamptz not null,
    finished_at timestamptz,
    dag_id text,
    run_id text,
    try_number integer,
    error text,
    built_by text, -- the run whose models were built with it
    check (window_start < window_end),
    check (status <> 'loaded' or rows_read = rows_loaded + rows_unchanged + rows_quarantined)
);
alter table ops.load_batch add column if not exists rows_refused bigint not null default 0; -- known ones included
alter table ops.load_batch add column if not exists bytes_read bigint not null default 0;
alter table ops.load_batch add column if not exists seconds numeric
    generated always as (round(extract(epoch from finished_at - started_at), 3)) stored;
alter table ops.load_batch add column if not exists rows_per_second numeric
    generated always as (round(rows_read / nullif(extract(epoch from finished_at - started_at), 0))) stored;
create index if not exists load_batch_source_window on ops.load_batch (source, status, window_end);

-- Columns that a source's table has gained, lost or retyped, each noted once.
create table if not exists ops.schema_change (
    source text not null,
    column_name text not null,
    change text not null check (change in ('new', 'missing', 'retyped')),
    expected text, -- the type that raw has; null of a new column
    found text, -- the type at the source; null of a missing one
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
    topic_id text, -- the broker's own, which another topic of that name would not have
    primary key (topic, "partition")
);
alter table ops.kafka_offset add column if not exists topic_id text;

-- Offsets, both inclusive, under which the warehouse found no message and never held one.
create table if not exists ops.kafka_gap (
    topic text not null,
    "partition" integer not null,
    first_offset bigint not null,
    last_offset bigint not null,
    -- 'retention': lost; 'transaction': nothing was there to read; 'compaction or transaction': it cannot be told
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
    replayed_at timestamptz, -- since then raw holds it
    replayed_batch_id bigint references ops.load_batch,
    corrected jsonb -- what a person has written in place of a message's value, for `replay_quarantine` to take
);
alter table ops.quarantine add column if not exists replayed_batch_id bigint references ops.load_batch;
alter table ops.quarantine add column if not exists corrected jsonb;
create index if not exists quarantine_batch on ops.quarantine (batch_id);
-- Finds a refusal again when the same bad row is read again.
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

-- One row a run that rebuilds: who holds the right to build, and the as-of date it builds for.
create table if not exists ops.build (
    run_id text primary key,
    dag_id text not null,
    as_of_date date,
    is_full_refresh boolean not null,
    project_digest text not null, -- of the dbt project's files
    claimed_at timestamptz not null,
    finished_at timestamptz,
    is_published boolean not null default false
);
create unique index if not exists build_one_at_a_time on ops.build ((true)) where finished_at is null;
-- What the run left as it was, because it could not load every source that it was to read: those sources, the models
-- that depend on them, and the sources whose marks stay for the next run, since a model that follows them was left out.
alter table ops.build add column if not exists failed_sources text[] not null default '{}';
alter table ops.build add column if not exists left_out text[] not null default '{}';
alter table ops.build add column if not exists unsettled_sources text[] not null default '{}';

-- "Today" for every model: fixed by the build that is under way, otherwise the last day that sales have loaded.
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

-- The marks that a run has claimed: why a day was rebuilt, kept when the publication clears `dirty_date`.
create table if not exists ops.claimed_date (
    run_id text not null,
    source text not null,
    dirty_date date not null,
    batch_id bigint not null,
    claimed_at timestamptz not null,
    primary key (run_id, dirty_date, source, batch_id)
);

-- What a run has done to a model. `period` says how it was rebuilt: by the claimed days of `sources`, by the months or
-- years they lie in, or all of it.
create table if not exists ops.rebuild (
    run_id text not null,
    model text not null,
    period text not null check (period in ('day', 'month', 'year', 'all')),
    sources text[] not null,
    rows_inserted bigint not null,
    rows_deleted bigint, -- unknown of a model that was made anew
    rebuilt_at timestamptz not null,
    primary key (run_id, model)
);

-- Why was this day, month or year of a model rebuilt by this run? One row a claimed period, source and load.
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

-- What each source is loaded through, and what is wrong with it. One row a source that was ever read.
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
    message text not null
);
create index if not exists check_result_run on ops.check_result (run_id);
create index if not exists check_result_subject on ops.check_result (check_name, subject, checked_at);

-- Rows at fault, as they were when a check judged: capped, and never overwritten by a later one.
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

-- Refused rows as the pages show them: without the e-mail address that a refused customer may have had.
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

-- `undo_by` says how the publication of this mart is undone: by the rows in `publication_delta`, by emptying what was
-- empty before, or not at all, since the table was made anew. The checksum is of the rows afterwards, over `columns`.
alter table ops.publication add column if not exists as_of_date date;
alter table ops.publication add column if not exists undo_by text check (undo_by in ('rows', 'emptying', 'nothing'));
alter table ops.publication add column if not exists columns text[];
alter table ops.publication add column if not exists checksum numeric;
alter table ops.publication add column if not exists restores bigint; -- a rollback: the publication it went back to
create index if not exists publication_mart on ops.publication (mart, publication_id desc);

-- What the last publications replaced: a row as it was before, by its key; null of a row that was not there.
create table if not exists ops.publication_delta (
    publication_id bigint not null,
    mart text not null,
    key jsonb not null,
    old_row jsonb
);
create index if not exists publication_delta_mart on ops.publication_delta (mart, publication_id);

-- What the next publication of a mart may rely on, see plugins/ecommerce/publish/merge.py. One row a mart; none where something
-- else than a publication was the last to change it.
create table if not exists ops.published_mart (
    mart text primary key,
    built bigint not null, -- oid of the table of marts_build that it was made equal to
    horizon xid8 not null, -- rows of that table which an earlier transaction wrote have been compared
    written_by xid8 not null, -- the publication's own transaction: no row of the mart is younger
    rows bigint not null,
    columns text[] not null,
    checksum bigint not null
);

-- What a check asked a person, since it held back a publication: whether that may be published all the same.
create table if not exists ops.decision (
    decision_id bigint generated always as identity primary key,
    run_id text not null,
    check_name text not null,
    subjects text[] not null, -- of the check, that failed
    message text not null, -- what it said of them
    days date[] not null, -- those that it failed by; approved, they are no longer judged
    difference jsonb not null, -- what would change, see plugins/ecommerce/publish/preview.py
    asked_at timestamptz not null,
    decision text check (decision in ('approved', 'rejected', 'unanswered', 'overtaken')), -- null: nobody decided yet
    decided_at timestamptz,
    decided_by text,
    reason text,
    check ((decision is null) = (decided_at is null))
);
create unique index if not exists decision_open on ops.decision (run_id, check_name) where decision is null;

-- One row an incident: opened when something was first seen, closed once it was seen to be well again.
create table if not exists ops.alert (
    alert_id bigint generated always as identity primary key,
    incident text not null, -- `<dag> <check> <subject>`, `<dag>.<task>` or `<dag> deadline`
    dag_id text not null,
    task_id text, -- of a task that failed
    check_name text, -- of a check, with its subject and what it saw
    subject text,
    severity text not null check (severity in ('warn', 'fail', 'deadline')), -- the highest since it was opened
    observed numeric,
    expected numeric,
    window_start date,
    window_end date, -- the latest that it was seen in; only a run that reaches as far closes it
    message text not null,
    first_run_id text not null,
    last_run_id text not null,
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    times_seen integer not null default 1,
    closed_at timestamptz,
    closed_by text, -- the run
    sending_since timestamptz, -- someone is telling it
    sent_at timestamptz, -- every connection there is has taken it
    sent_to text[] not null default '{}', -- the connections that have
    send_error text
);
create unique index if not exists alert_open on ops.alert (incident) where closed_at is null;
create index if not exists alert_incident on ops.alert (incident, closed_at);
-- What was judged on a day (UTC), and what was ever wrong, for the history of quality.
create index if not exists check_result_day on ops.check_result (((checked_at at time zone 'UTC')::date));
create index if not exists check_result_failed on ops.check_result (check_name, subject) where status = 'fail';

-- Whoever may read ops, reads all of it; but `inspector` sees no e-mail address.
grant select on all tables in schema ops to transformer, publisher, inspector;
revoke select on ops.quarantine, ops.check_failure from inspector;

-- A build notes down what it did to a model, and how its tests ended.
grant insert, update on ops.rebuild to transformer;
grant insert on ops.check_result, ops.check_failure to transformer;

-- The audit writes what it judged. A publication is put on the record, ends its build, and settles the marks and the
-- batches that this took in; a verification holds the right to build meanwhile.
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

-- Which files were applied is a comment of each schema.
drop table if exists ops.schema_version;

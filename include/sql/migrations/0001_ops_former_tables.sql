-- Tables of ops as they were before changes had numbers. Each statement does something only where it is needed, since
-- such a warehouse can be of any commit.
create table if not exists ops.migration (
    number integer primary key,
    name text not null,
    digest text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by name not null default current_user
);
do $$
begin
    if to_regrole('loader') is not null then
        grant select, insert (number, name, digest) on ops.migration to loader;
    end if;
end
$$;

alter table if exists ops.load_batch
    add column if not exists rows_refused bigint not null default 0,
    add column if not exists bytes_read bigint not null default 0,
    add column if not exists seconds numeric
        generated always as (round(extract(epoch from finished_at - started_at), 3)) stored,
    add column if not exists rows_per_second numeric
        generated always as (round(rows_read / nullif(extract(epoch from finished_at - started_at), 0))) stored;

-- Before there was this table, a source had all columns of raw, except for those that came with it.
do $$
begin
    if to_regclass('ops.source_column') is not null or to_regclass('ops.load_batch') is null then
        return;
    end if;
    create table ops.source_column (
        source text not null,
        column_name text not null,
        batch_id bigint not null references ops.load_batch,
        first_seen_at timestamptz not null,
        primary key (source, column_name)
    );
    insert into ops.source_column (source, column_name, batch_id, first_seen_at)
    select
        loaded.source,
        attribute.attname,
        loaded.batch_id,
        now()
    from (
        select source, max(batch_id) as batch_id
        from ops.load_batch
        where status = 'loaded'
        group by source
    ) as loaded
    inner join pg_attribute as attribute
        on attribute.attrelid = to_regclass(format('raw.%I', loaded.source))
    where attribute.attnum > 0
        and not attribute.attisdropped
        and not starts_with(attribute.attname::text, '_')
        and (loaded.source, attribute.attname::text) not in (
            ('sales_fact', 'line_number'), ('sales_fact', 'tax_amount'), ('sales_fact', 'order_status')
        );
end
$$;

alter table if exists ops.kafka_offset add column if not exists topic_id text;

-- No foreign keys to `load_batch`: to check them took longer than all else of storing a row, and no load is deleted. A
-- row that is read again is recognised by a digest of its payload, and not by an index.
alter table if exists ops.quarantine
    add column if not exists replayed_batch_id bigint,
    add column if not exists corrected jsonb,
    drop constraint if exists quarantine_batch_id_fkey,
    drop constraint if exists quarantine_replayed_batch_id_fkey;
drop index if exists ops.quarantine_payload;

-- Null in builds before these columns: the window, its sources, the first covered day, the country.
alter table if exists ops.build
    add column if not exists failed_sources text[] not null default '{}',
    add column if not exists left_out text[] not null default '{}',
    add column if not exists unsettled_sources text[] not null default '{}',
    add column if not exists window_start date,
    add column if not exists window_end date,
    add column if not exists requested_sources text[],
    add column if not exists is_build_needed boolean not null default false,
    add column if not exists first_covered_date date,
    add column if not exists time_zone text not null default 'UTC',
    add column if not exists country text;

-- Models are also rebuilt by week.
do $$
begin
    if exists (
        select from pg_constraint
        where
            conrelid = to_regclass('ops.rebuild')
            and conname = 'rebuild_period_check'
            and pg_get_constraintdef(oid) not like '%week%'
    ) then
        alter table ops.rebuild drop constraint rebuild_period_check;
        alter table ops.rebuild add constraint rebuild_period_check
            check (period in ('day', 'week', 'month', 'year', 'all'));
    end if;
end
$$;

-- The role that records a result. All of before count as those of the role that brings the warehouse up to date.
alter table if exists ops.check_result add column if not exists recorded_by name not null default current_user;

-- Of days in UTC, whatever the shop's time zone. The script of the schema makes it again, of the shop's days.
do $$
begin
    if exists (
        select from pg_indexes
        where schemaname = 'ops' and indexname = 'check_result_day' and indexdef not like '%shop_day%'
    ) then
        drop index ops.check_result_day;
    end if;
end
$$;

alter table if exists ops.publication
    add column if not exists as_of_date date,
    add column if not exists undo_by text check (undo_by in ('rows', 'emptying', 'nothing')),
    add column if not exists columns text[],
    add column if not exists checksum numeric,
    add column if not exists restores bigint;

-- Null in decisions of before these columns, which approve nothing any more.
alter table if exists ops.decision
    add column if not exists figures jsonb,
    add column if not exists digest text,
    add column if not exists answer_until timestamptz,
    add column if not exists revoked_at timestamptz,
    add column if not exists revoked_by text;

-- The comment of each schema has the digest of what was applied.
drop table if exists ops.schema_version;

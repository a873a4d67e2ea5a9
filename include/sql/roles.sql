-- Who may do what in the warehouse; docs/roles.md has it as a table. An administrator of the server runs this in the
-- warehouse's database: once, and again whenever it changes (it may be run any number of times). The roles get their
-- passwords from whoever runs it. Tables are made by their owners: ops, raw and marts by the files beside this one,
-- which the first task that connects applies, all others by dbt.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['loader', 'transformer', 'publisher', 'reader', 'inspector', 'reviewer', 'previewer'] loop
        if to_regrole(wanted) is null then
            execute format('create role %I login', wanted);
        end if;
        -- No one's functions but Postgres' own.
        execute format('alter role %I in database %I set search_path = pg_catalog', wanted, current_database());
        -- A policy that somebody puts on a table is an error, and neither runs nor hides rows.
        if wanted in ('loader', 'transformer', 'publisher') then
            execute format('alter role %I in database %I set row_security = off', wanted, current_database());
        end if;
        execute format('grant connect on database %I to %I', current_database(), wanted);
    end loop;
    -- Loads, builds and publications work with temporary tables; `verify_warehouse` and the preview of a change build in
    -- schemas of their own.
    execute format('grant temporary on database %I to loader, transformer, publisher', current_database());
    execute format('grant create on database %I to transformer, previewer', current_database());
end
$$;

revoke all on schema public from public;

-- Readers can be tools and people of any kind, `reviewer` writes what a browser sends, and `previewer` runs models that
-- nobody has reviewed yet: they must not stop those who load, build and publish. They get neither the locks that these
-- take, nor what fills the server's disk (large objects, temporary tables, messages), nor all its connections. The
-- timeouts are defaults, which a session can change.
do $$
declare
    wanted text;
    other text;
    routine regprocedure;
begin
    for routine in
        select oid::regprocedure
        from pg_proc
        where
            pronamespace = 'pg_catalog'::regnamespace
            and (
                proname ~ '^pg_(try_)?advisory_'
                or proname ~ '^(lo_|lowrite$|loread$)'
                or proname in ('pg_notify', 'pg_logical_emit_message', 'pg_export_snapshot')
            )
    loop
        execute format('revoke execute on function %s from public', routine);
        if routine::text ~ '^pg_(try_)?advisory_' then
            execute format('grant execute on function %s to loader, publisher', routine);
        end if;
    end loop;
    foreach wanted in array array['reader', 'inspector', 'reviewer', 'previewer'] loop
        execute format('alter role %I connection limit 30', wanted);
        execute format('alter role %I in database %I set statement_timeout = %L', wanted, current_database(), '10min');
        execute format('alter role %I in database %I set lock_timeout = %L', wanted, current_database(), '10s');
        execute format(
            'alter role %I in database %I set idle_in_transaction_session_timeout = %L',
            wanted, current_database(), '5min'
        );
        begin
            -- Only a superuser may set it; then no session of the role can change it.
            execute format('alter role %I in database %I set temp_file_limit = %L', wanted, current_database(), '10GB');
        exception when insufficient_privilege then
            raise warning 'temporary files of % have no limit: only a superuser may set one', wanted;
        end;
    end loop;
    -- Whoever may log in may connect to every database that is open to all.
    for other in
        select datname
        from pg_database
        where datname in (current_database(), 'postgres', 'template1')
    loop
        execute format('revoke connect, temporary on database %I from public', other);
    end loop;
    for other in
        select datname
        from pg_database
        where datallowconn and has_database_privilege('reader', datname, 'connect') and datname <> current_database()
    loop
        raise warning 'the database % is open to all roles: revoke connect, temporary on it from public', other;
    end loop;
end
$$;

-- Code that one role plants into a table, as a trigger, a policy or an index, runs as whoever writes to it or reads it.
-- So only the strongest role may write functions: those of `ops`, which all others call. It also owns the tables of
-- `ops`, which all roles write. (Where the administrator is no superuser, as in some clouds, Postgres warns and revokes
-- nothing.)
revoke usage on language plpgsql, sql from public;
grant usage on language plpgsql, sql to publisher;

-- Each schema has one owner. What the database's owner, or the owner of before, has made in it becomes its.
do $$
declare
    owned record;
    relation regclass;
    routine regprocedure;
begin
    -- Its script has to grant the rights of the loader or of the reviewer again (see
    -- plugins/ecommerce/common/database_schema.py).
    if
        (select nspowner from pg_namespace where nspname = 'ops') <> 'publisher'::regrole
        or to_regclass('ops.review') is not null
        and not has_column_privilege('reviewer', 'ops.review', 'order_id', 'insert')
    then
        comment on schema ops is null;
    end if;
    for owned in
        select *
        from (
            values
            ('ops', 'publisher'),
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
            inner join pg_database on pg_database.datname = current_database()
            where
                pg_class.relnamespace = to_regnamespace(owned.name)
                and pg_class.relkind in ('r', 'p', 'v', 'm')
                and pg_class.relowner <> owned.owner::regrole
                and (pg_class.relowner = pg_database.datdba or owned.name = 'ops')
        loop
            execute format('alter table %s owner to %I', relation, owned.owner);
        end loop;
        for routine in
            select pg_proc.oid::regprocedure
            from pg_proc
            where
                owned.name = 'ops'
                and pg_proc.pronamespace = to_regnamespace('ops')
                and pg_proc.proowner <> owned.owner::regrole
                and not pg_proc.prosecdef
                and pg_proc.proname in (
                    'shop_time_zone', 'shop_day', 'shop_midnight', 'shop_country', 'clean_text',
                    'drop_index_of_another_time_zone', 'note_time_zone_of_index', 'upgrade_sales_fact',
                    'upgrade_product_category', 'upgrade_subscription_data', 'trim_keys_of_raw', 'replace_view',
                    'without_e_mails', 'personal_columns', 'hide_personal_columns_of_raw', 'shown_fields',
                    'key_values'
                )
        loop
            execute format('alter routine %s owner to %I', routine, owned.owner);
        end loop;
    end loop;
end
$$;

-- Who may read a schema, reads what is in it now and what comes. What one of them may write or may not see besides
-- stands beside the table.
grant usage on schema ops, raw, staging, core, quality, marts_build to publisher;
grant usage on schema ops to loader, reviewer;
grant usage on schema ops, raw to transformer;
grant usage on schema ops, raw, staging, core, quality, marts_build to previewer;
grant usage on schema marts to reader;
grant usage on schema ops, raw, core, quality, marts to inspector;

alter default privileges for role publisher in schema ops
grant select on tables to loader, transformer, inspector, previewer;
alter default privileges for role loader in schema raw
grant select on tables to transformer, publisher, inspector, previewer;
alter default privileges for role transformer in schema staging, core, quality, marts_build
grant select on tables to publisher;
alter default privileges for role transformer in schema staging, core, quality, marts_build
grant select on tables to previewer;
alter default privileges for role transformer in schema core, quality
grant select on tables to inspector;
alter default privileges for role publisher in schema marts
grant select on tables to reader, inspector;

-- Of core, dim_customer hides names and e-mail addresses from `inspector` whenever it is built (hide_from_inspector).
grant select on all tables in schema ops, raw, staging, core, quality, marts_build to publisher;
grant select on all tables in schema ops to loader;
grant select on all tables in schema ops, raw to transformer;
grant select on all tables in schema ops, raw, staging, core, quality, marts_build to previewer;
grant select on all tables in schema marts to reader, inspector;
-- But not the salt of erased keys (see ops.sql).
do $$
begin
    if to_regclass('ops.erasure_salt') is not null then
        revoke select on ops.erasure_salt from transformer, inspector, previewer;
    end if;
end
$$;

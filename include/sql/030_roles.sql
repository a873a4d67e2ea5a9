-- Who may read. The roles themselves are made by whoever runs the server; what is missing is left out here.
create schema if not exists marts;
create schema if not exists core;
create schema if not exists quality;

-- Which publication each mart is from. It changes in the transaction that changes the marts.
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

revoke all on schema public from public;

-- `reader` sees the published marts and nothing else.
do $$
begin
    if exists (select from pg_roles where rolname = 'reader') then
        grant usage on schema marts to reader;
        grant select on all tables in schema marts to reader;
        alter default privileges in schema marts grant select on tables to reader;
    end if;
end
$$;

-- `inspector` sees where a figure comes from: marts, core, raw, ops and quality, but no e-mail address. In core, dim_customer
-- hides it itself whenever it is built (macro hide_from_inspector).
do $$
begin
    if exists (select from pg_roles where rolname = 'inspector') then
        grant usage on schema marts, core, raw, ops, quality to inspector;
        grant select on all tables in schema marts, core, raw, ops, quality to inspector;
        alter default privileges in schema marts, core, ops, quality grant select on tables to inspector;
        revoke select on raw.customer, ops.quarantine, ops.check_failure from inspector;
        grant select (
            customer_id, customer_name, start_date, end_date, status, _valid_from, _is_deleted, _batch_id, _loaded_at
        ) on raw.customer to inspector;
        if to_regclass('core.dim_customer') is not null then
            revoke select on core.dim_customer from inspector;
            grant select (
                customer_key, customer_id, customer_name, is_valid_email, customer_since_date, customer_end_date,
                customer_status, is_inferred, is_deleted, valid_from, valid_to, is_current
            ) on core.dim_customer to inspector;
        end if;
    end if;
end
$$;

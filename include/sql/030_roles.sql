-- Who may read: `reader` sees the published marts and nothing else. The role itself is made by whoever runs the server.
create schema if not exists marts;

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

do $$
begin
    if exists (select from pg_roles where rolname = 'reader') then
        grant usage on schema marts to reader;
        grant select on all tables in schema marts to reader;
        alter default privileges in schema marts grant select on tables to reader;
    end if;
end
$$;

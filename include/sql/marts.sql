-- What of marts is no model. Applied by the owner of the schema, `publisher`. Published tables that are there are changed
-- by a file in `migrations`.

-- Which publication each mart is from. It changes in the transaction that changes the marts. After an erasure pages and
-- tools that keep answers have to forget them: `last_erasure` changes at its begin and at its end.
create or replace view marts.published as
select distinct on (mart)
    mart,
    publication_id,
    run_id,
    published_at,
    as_of_date,
    restores,
    (select count(*) + count(erasure.erased_at) from ops.erasure) as last_erasure
from ops.publication
order by mart asc, publication_id desc;

grant select on marts.published to reader, inspector;

-- The first day that is covered and "today" of the last published build.
create or replace view marts.covered_days as
select
    first_covered_date,
    as_of_date
from ops.build
where is_published
order by claimed_at desc
limit 1;

grant select on marts.covered_days to reader, inspector;

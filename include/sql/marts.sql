-- What of marts is no model. Applied by the owner of the schema, `publisher`.

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

grant select on marts.published to reader, inspector;

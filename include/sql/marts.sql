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

-- A warehouse from before there were refunds: a product has no rank in a month in which it sold nothing.
do $$
begin
    if exists (
        select from pg_attribute
        where
            attrelid = to_regclass('marts.product_performance_monthly')
            and attname = 'category_rank'
            and attnotnull
    ) then
        alter table marts.product_performance_monthly alter column category_rank drop not null;
    end if;
end
$$;

-- A warehouse from before `weather_correlation`: the correlations of weather_sales_impact had season and growth in
-- them. Where a view reads them they stay, and the publication says which view.
do $$
begin
    if exists (
        select from pg_attribute
        where
            attrelid = to_regclass('marts.weather_sales_impact')
            and attname = 'correlation_temperature_revenue'
            and not attisdropped
    ) then
        alter table marts.weather_sales_impact
            drop column correlation_temperature_revenue,
            drop column correlation_precipitation_revenue;
    end if;
exception
    when dependent_objects_still_exist then
        raise warning '%', sqlerrm;
end
$$;

-- A warehouse from before periods were complete or not: a month that is not has no share of the average.
do $$
begin
    if exists (
        select from pg_attribute
        where
            attrelid = to_regclass('marts.seasonal_sales_analysis')
            and attname = 'percent_of_average'
            and attnotnull
    ) then
        alter table marts.seasonal_sales_analysis alter column percent_of_average drop not null;
    end if;
end
$$;

-- Published marts as they were before changes had numbers.

-- From before there were refunds: a product has no rank in a month in which it sold nothing.
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

-- From before `weather_correlation`: the correlations of weather_sales_impact had season and growth in them. Where a
-- view reads them they stay, and the publication says which view.
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

-- From before periods were complete or not: a month that is not has no share of the average.
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

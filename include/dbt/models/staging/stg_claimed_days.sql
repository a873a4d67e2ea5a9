with dirty_dates as (

    select * from {{ source('ops', 'dirty_date') }}

),

builds as (

    select * from {{ source('ops', 'build') }}

),

as_of as (

    select * from {{ source('ops', 'as_of') }}

),

last_complete_build as (

    select
        as_of_date,
        first_covered_date
    from builds
    where is_published and left_out = '{}'
    order by claimed_at desc
    limit 1

),

-- What the last complete build did not cover yet, after it and before it; without one, all days.
newly_covered as (

    select
        coalesce(last_complete_build.as_of_date + 1, as_of.first_covered_date) as first_day,
        as_of.as_of_date as last_day
    from as_of
    left join last_complete_build on true
    union all
    select
        as_of.first_covered_date as first_day,
        last_complete_build.first_covered_date - 1 as last_day
    from as_of
    cross join last_complete_build

),

final as (

    select
        source as source_name,
        dirty_date as claimed_day
    from dirty_dates
    where claimed_by is not null
    union all
    select
        'as_of' as source_name,
        day::date as claimed_day
    from newly_covered
    cross join
        generate_series(
            newly_covered.first_day::timestamp, newly_covered.last_day::timestamp, '1 day'
        ) as day
    where
        exists (
            select from builds
            where builds.finished_at is null
        )

)

select * from final

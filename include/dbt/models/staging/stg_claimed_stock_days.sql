with builds as (

    select * from {{ source('ops', 'build') }}

),

batches as (

    select * from {{ source('ops', 'load_batch') }}

),

as_of as (

    select * from {{ source('ops', 'as_of') }}

),

versions as (

    select * from {{ ref('stg_product_category_versions') }}

),

last_complete_build as (

    select as_of_date from builds
    where is_published and left_out = '{}'
    order by claimed_at desc
    limit 1

),

-- Without an as-of date a build has no days: the versions that it took are new to the next.
claimed_versions as (

    select min({{ shop_day('versions.changed_at') }}) as first_day
    from versions
    inner join batches
        on versions.batch_id = batches.batch_id
    inner join builds
        on batches.built_by = builds.run_id
    where
        builds.finished_at is null
        or (
            exists (
                select from builds as running
                where running.finished_at is null
            )
            and not exists (
                select from last_complete_build
                where last_complete_build.as_of_date is not null
            )
        )

),

final as (

    select day::date as claimed_day
    from claimed_versions
    cross join as_of
    cross join
        generate_series(
            claimed_versions.first_day::timestamp, as_of.as_of_date::timestamp, '1 day'
        ) as day

)

select * from final

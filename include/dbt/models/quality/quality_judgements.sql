-- Grain: one row per result of a check or dbt test.
with results as (

    select * from {{ source('ops', 'check_result') }}

),

load_batches as (

    select * from {{ source('ops', 'load_batch') }}

),

known_sources as (

    select distinct source from load_batches

),

-- A subject begins with the name of its table, with or without the schema.
with_table as (

    select
        results.*,
        split_part(results.subject, ' ', 1) as table_name,
        regexp_replace(split_part(results.subject, ' ', 1), '^.*[.]', '') as bare_name
    from results

),

with_kind as (

    select
        with_table.*,
        case
            when
                with_table.table_name like 'raw.%' or known_sources.source is not null
                then 'source'
            when with_table.table_name like 'staging.%' then 'staging'
            when with_table.table_name like 'core.%' then 'core'
            when
                with_table.table_name like 'marts.%' or with_table.table_name like 'marts_build.%'
                then 'mart'
            else 'other'
        end as subject_kind
    from with_table
    left join known_sources on with_table.table_name = known_sources.source

),

final as (

    select
        check_result_id,
        check_name,
        subject,
        subject_kind,
        case when subject_kind = 'other' then subject else bare_name end as subject_name,
        status,
        {{ shop_day('checked_at') }} as checked_on,
        checked_at
    from with_kind

)

select * from final

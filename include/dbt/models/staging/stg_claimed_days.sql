with dirty_dates as (

    select * from {{ source('ops', 'dirty_date') }}

),

final as (

    select
        source as source_name,
        dirty_date as claimed_day
    from dirty_dates
    where claimed_by is not null

)

select * from final

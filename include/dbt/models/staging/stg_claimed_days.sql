with marks as (

    select * from {{ source('ops', 'dirty_date') }}

),

final as (

    select
        source as source_name,
        dirty_date as claimed_day
    from marks
    where claimed_by is not null

)

select * from final

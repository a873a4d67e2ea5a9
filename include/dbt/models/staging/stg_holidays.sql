with holidays as (

    select * from {{ source('ops', 'holiday') }}

),

final as (

    select
        holiday_date,
        holiday_name
    from holidays

)

select * from final

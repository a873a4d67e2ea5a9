with as_of as (

    select * from {{ source('ops', 'as_of') }}

),

final as (

    select
        as_of_date,
        first_covered_date
    from as_of

)

select * from final

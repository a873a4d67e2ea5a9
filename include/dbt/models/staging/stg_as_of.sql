with as_of as (

    select * from {{ source('ops', 'as_of') }}

),

loads as (

    select * from {{ source('ops', 'load_batch') }}
    where source = 'sales_fact' and status = 'loaded'

),

final as (

    select
        as_of.as_of_date,
        (select min(loads.window_start) from loads) as first_covered_date
    from as_of

)

select * from final

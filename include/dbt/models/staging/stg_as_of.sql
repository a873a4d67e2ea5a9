with final as (

    select as_of_date from {{ source('ops', 'as_of') }}

)

select * from final

with reviews as (

    select * from {{ source('ops', 'review') }}

),

-- The history stays in ops: here is what was said last.
final as (

    select distinct on (order_id)
        order_id,
        status as review_status,
        reviewed_by,
        nullif(note, '') as review_note,
        reviewed_at
    from reviews
    order by order_id asc, review_id desc

)

select * from final

-- Grain: one row per order that a person has reviewed.
with reviews as (

    select * from {{ ref('stg_order_reviews') }}

),

final as (

    select
        order_id,
        review_status,
        reviewed_by,
        review_note,
        reviewed_at
    from reviews

)

select * from final

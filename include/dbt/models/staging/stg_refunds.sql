with refunds as (

    select * from {{ source('shop', 'refund') }}

),

final as (

    select
        refund_id,
        {{ clean_text('order_id') }} as order_id,
        line_number,
        {{ clean_text('product_id') }} as product_id,
        {{ clean_text('customer_id') }} as customer_id,
        {{ clean_text('reason') }} as reason,
        refund_amount::numeric(18, 2) as refund_amount,
        refund_quantity,
        refund_date,
        created_at at time zone 'UTC' as created_at
    from refunds

)

select * from final

with lines as (

    select * from {{ source('shop', 'sales_fact') }}

),

final as (

    select
        -- Loads trim keys, and only the column itself can be looked up in the index of raw.
        order_id,
        line_number,
        {{ clean_text('product_id') }} as product_id,
        {{ clean_text('customer_id') }} as customer_id,
        coalesce(lower({{ clean_text('payment_method') }}), 'unknown') as payment_method,
        coalesce(nullif(order_quantity, 0), 1) as order_quantity,
        order_amount::numeric(18, 2) as order_amount,
        coalesce(discount_applied, 0) as discount_rate,
        coalesce(shipping_cost, 0)::numeric(18, 2) as shipping_cost,
        tax_amount::numeric(18, 2) as tax_amount,
        coalesce(order_quantity, 0) = 0 as is_quantity_imputed,
        coalesce(
            lower({{ clean_text('order_status') }})
            in ('cancelled', 'canceled', 'voided', 'failed'),
            false
        ) as is_cancelled,
        order_date,
        created_at at time zone 'UTC' as created_at
    from lines

)

select * from final

-- Grain: one row per product and other product that enough customers bought both, within 90 days.
with pairs as (

    select * from {{ ref('int_product_pair_sales') }}

),

final as (

    select
        product_id,
        other_product_id,
        customers,
        customers_next,
        {{ percent_of('customers', 'all_customers') }} as support_percent,
        {{ percent_of('customers', 'product_customers') }} as confidence_percent,
        {{ percent_of('customers_next', 'product_customers') }} as next_percent,
        round(
            customers::numeric * all_customers / (product_customers::numeric * other_customers), 2
        ) as lift,
        counted_month
    from pairs

)

select * from final

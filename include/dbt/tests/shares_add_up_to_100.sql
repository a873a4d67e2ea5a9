-- The shares of a whole add up to 100, give or take the rounding: half a hundredth per share. An
-- order that was paid in two ways is in the share of each: those of orders add up to 100 at least.
with sums as (

    select
        'payment_method_preference orders' as whole,
        sum(order_percent) as percent,
        count(*) as shares,
        true as may_exceed
    from {{ ref('payment_method_preference') }}
    union all
    select
        'payment_method_preference revenue' as whole,
        sum(revenue_percent) as percent,
        count(*) as shares,
        false as may_exceed
    from {{ ref('payment_method_preference') }}
    union all
    select
        concat_ws(' ', 'product_revenue_payment_analysis', revenue_month, category_name) as whole,
        sum(payment_method_percent) as percent,
        count(*) as shares,
        false as may_exceed
    from {{ ref('product_revenue_payment_analysis') }}
    group by revenue_month, category_name

)

select * from sums
where
    percent < 100 - 0.005 * shares
    or (percent > 100 + 0.005 * shares and not may_exceed)

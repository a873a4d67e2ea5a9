-- Grain: one row per year and customer with refunds. Guests are no customers. Additive:
-- refunded_amount.
{% set claimed_from = var('sources_of_refunds') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'year', 'period_column': 'refund_year'},
) }}

with refunds as (

    select * from {{ ref('fact_refunds') }}
    {{ only_claimed(claimed_from, 'year', 'date_key') }}

),

final as (

    select
        {{ first_day_of('year', 'date_key') }} as refund_year,
        customer_id,
        sum(refund_amount) as refunded_amount
    from refunds
    where customer_id is not null
    group by 1, 2

)

select * from final

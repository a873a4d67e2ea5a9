-- Grain: one row per version of a customer, and one for all guests.
{{ config(
    meta={'also_without': ['subscription_data']},
    post_hook="{{ hide_from_inspector() }}",
) }}

{% set tracked = [
    'customer_name', 'customer_email', 'is_valid_email', 'customer_since_date', 'customer_end_date',
    'customer_status',
] %}

with customer_versions as (

    select * from {{ ref('stg_customer_versions') }}

),

unknown_keys as (

    select * from {{ ref('int_unknown_keys') }}

),

subscriptions as (

    select * from {{ ref('stg_subscriptions') }}

),

-- A tombstone has only its key: the deleted customer keeps its last attributes.
with_attributes as (

    select
        customer_id,
        {%- for column in tracked %}
        case when is_deleted then lag({{ column }}) over log else {{ column }} end as {{ column }},
        {%- endfor %}
        is_deleted,
        batch_id,
        changed_at
    from customer_versions
    window log as (partition by customer_id order by batch_id, changed_at)

),

history as (

    {{ history_of('with_attributes', 'customer_id') }}

),

compared as (

    select
        *,
        {{ is_change(tracked + ['is_deleted'], 'versions') }} as is_change
    from history
    window versions as (partition by customer_id order by valid_from)

),

known as (

    select
        customer_id,
        {%- for column in tracked %}
        {{ column }},
        {%- endfor %}
        false as is_inferred,
        is_deleted,
        valid_from,
        {{ closes_at('customer_id') }} as valid_to
    from compared
    where is_change

),

referenced as (

    select customer_id from unknown_keys
    where customer_id is not null
    union
    select customer_id from subscriptions

),

inferred as (

    select
        referenced.customer_id,
        null as customer_name,
        null as customer_email,
        false as is_valid_email,
        null::date as customer_since_date,
        null::date as customer_end_date,
        null as customer_status,
        true as is_inferred,
        false as is_deleted,
        '-infinity'::timestamptz as valid_from,
        'infinity'::timestamptz as valid_to
    from referenced
    left join customer_versions
        on referenced.customer_id = customer_versions.customer_id
    where customer_versions.customer_id is null

),

-- The orders of all guests point to one member, which has no customer_id.
guest as (

    select
        null as customer_id,
        null as customer_name,
        null as customer_email,
        false as is_valid_email,
        null::date as customer_since_date,
        null::date as customer_end_date,
        null as customer_status,
        false as is_inferred,
        false as is_deleted,
        '-infinity'::timestamptz as valid_from,
        'infinity'::timestamptz as valid_to

),

members as (

    select * from known
    union all
    select * from inferred
    union all
    select * from guest

),

final as (

    select
        {{ surrogate_key('customer_id', 'valid_from') }} as customer_key,
        customer_id,
        customer_name,
        customer_email,
        customer_status,
        is_valid_email,
        is_inferred,
        is_deleted,
        valid_to = 'infinity' as is_current,
        customer_since_date,
        customer_end_date,
        valid_from,
        valid_to
    from members

)

select * from final

with messages as (

    select * from {{ source('kafka', 'kafka_stream') }}

),

renamed as (

    select
        _topic || '-' || _partition || '-' || _offset as event_id,
        {{ clean_text('customer_id') }} as customer_id,
        {{ clean_text('product_id') }} as product_id,
        {{ clean_text('interaction_type') }} as interaction_type,
        _day as event_date,
        timestamp as event_at,
        _below_microsecond,
        _offset,
        _partition,
        _topic
    from messages

),

-- An interaction that was sent twice is one event: the first offset wins. Its time counts with all
-- its digits, so two events of one microsecond stay two. The day follows from the time: it is among
-- the columns so that Postgres can apply a filter on days to the messages.
deduplicated as (

    select distinct on (
        customer_id, product_id, interaction_type, event_at, _below_microsecond, event_date
    ) *
    from renamed
    order by
        customer_id,
        product_id,
        interaction_type,
        event_at,
        _below_microsecond,
        event_date,
        _offset,
        _partition,
        _topic

),

final as (

    select
        event_id,
        customer_id,
        product_id,
        interaction_type,
        case
            when interaction_type = 'purchase' then 'Conversion'
            when interaction_type in ('view', 'add_to_cart') then 'Engagement'
            else 'Other'
        end as event_category,
        event_date,
        event_at
    from deduplicated

)

select * from final

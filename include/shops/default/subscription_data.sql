-- A customer_id of digits alone, integer or text, is the number of a customer: 1 means CUST001, 1000 means CUST1000.
select
    case
        when subscription_data.customer_id::text ~ '^[0-9]+$'
            then 'CUST' || lpad(
                subscription_data.customer_id::text,
                greatest(length(subscription_data.customer_id::text), 3),
                '0'
            )
        else subscription_data.customer_id::text
    end as customer_id,
    subscription_id,
    plan_type,
    subscription_start_date,
    subscription_end_date,
    monthly_fee,
    status
from public.subscription_data

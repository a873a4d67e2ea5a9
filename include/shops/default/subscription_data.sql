-- A customer_id of digits alone, integer or text, is the number of a customer: 1 means CUST001, 1000 means CUST1000.
-- A negative number is nobody's: the row goes to quarantine.
select
    case
        when subscription.customer_id::text ~ '^[0-9]+$'
            -- lpad() also truncates, so the length is at least that of the number.
            then 'CUST' || lpad(
                subscription.customer_id::text, greatest(length(subscription.customer_id::text), 3), '0'
            )
        when subscription.customer_id::text !~ '^-[0-9]+$' then subscription.customer_id::text
    end as customer_id,
    subscription.subscription_id,
    subscription.plan_type,
    subscription.subscription_start_date,
    subscription.subscription_end_date,
    subscription.monthly_fee,
    subscription.status
from public.subscription_data as subscription

select
    id::text as customer_id,
    nullif(btrim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), '') as customer_name,
    email as customer_email,
    created_at as start_date,
    null::date as end_date,
    -- disabled, invited, enabled or declined: whether the customer has an account.
    state as status
from shopify.customer

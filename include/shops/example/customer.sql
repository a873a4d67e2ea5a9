select
    id::text as customer_id,
    name as customer_name,
    email as customer_email,
    joined_at as start_date,
    left_at as end_date,
    case when left_at is null then 'active' else 'closed' end as status
from shop.customers

select
    cast(entity_id as char) as customer_id,
    nullif(trim(concat(coalesce(firstname, ''), ' ', coalesce(lastname, ''))), '') as customer_name,
    email as customer_email,
    created_at as start_date,
    null as end_date,
    case when is_active = 1 then 'active' else 'inactive' end as status
from customer_entity

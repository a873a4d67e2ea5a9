-- The users that are customers: by their role, or since they have ordered. Guests have no user.
select
    cast(users.ID as char) as customer_id,
    coalesce(
        nullif(trim(concat(coalesce(first_name.meta_value, ''), ' ', coalesce(last_name.meta_value, ''))), ''),
        nullif(users.display_name, '')
    ) as customer_name,
    nullif(users.user_email, '') as customer_email,
    case when users.user_registered >= '1970-01-02' then users.user_registered end as start_date,
    null as end_date,
    'active' as status
from wp_users as users
left join wp_usermeta as first_name
    on users.ID = first_name.user_id and first_name.meta_key = 'first_name'
left join wp_usermeta as last_name
    on users.ID = last_name.user_id and last_name.meta_key = 'last_name'
left join wp_usermeta as roles
    on users.ID = roles.user_id and roles.meta_key = 'wp_capabilities'
where roles.meta_value like '%"customer"%'
    or exists (select 1 from wp_wc_orders as orders where orders.customer_id = users.ID and orders.type = 'shop_order')

-- Orders of the window that are dated after the day on which they were recorded: most likely typing errors.
select order_id, order_date, created_at
from raw.sales_fact
where
    created_at >= ops.shop_midnight(%(start)s) at time zone 'UTC'
    and created_at < ops.shop_midnight(%(end)s) at time zone 'UTC'
    and order_date > ops.shop_day(created_at at time zone 'UTC')

-- Orders of the window that are dated after the day on which they were recorded: most likely typing errors.
select order_id, order_date, created_at
from raw.sales_fact
where created_at >= %(start)s and created_at < %(end)s and order_date > created_at::date

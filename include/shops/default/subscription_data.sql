-- All columns of the table, whichever it has, with customer_id as the warehouse knows it: digits alone, integer or text,
-- are the number of a customer. 1 means CUST001, 1000 means CUST1000. A negative number is nobody's: the row goes to
-- quarantine.
select
    subscription.*,
    case
        when subscription._customer_id::text ~ '^[0-9]+$'
            -- lpad() also truncates, so the length is at least that of the number.
            then 'CUST' || lpad(
                subscription._customer_id::text, greatest(length(subscription._customer_id::text), 3), '0'
            )
        when subscription._customer_id::text !~ '^-[0-9]+$' then subscription._customer_id::text
    end as customer_id
from (
    -- A join by `using` has its column first, wherever the table has it: so it can be renamed.
    (select customer_id from public.subscription_data where false) as nothing
    right join public.subscription_data
        using (customer_id)
) as subscription (_customer_id)

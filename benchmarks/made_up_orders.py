"""Orders of a made-up shop, for the benchmarks that load them from Postgres."""

#: Inserts `rows` orders spread over 2017, with as many customers and products as a shop of that size has. Of each 100,
#: `rejected_percent` have a negative amount; they lie among the others, and no two are the same.
MADE_UP_ORDERS = """
    insert into sales_fact (
        order_id, line_number, product_id, customer_id, order_date, order_amount, order_quantity, payment_method,
        discount_applied, shipping_cost, created_at
    )
    select
        'ORD' || n,
        1,
        'PROD' || n * 7919 %% 90000,
        'CUST' || lpad((n %% 2500)::text, 3, '0'),
        day,
        case when n %% 100 < %(rejected_percent)s then -1 else (n %% 9000) / 100.0 end,
        1 + n %% 3,
        (array['credit_card', 'paypal', 'debit_card', null])[1 + n %% 4],
        (n %% 5) / 20.0,
        2 + (n %% 17) * 0.35,
        day + (n %% 86400) * interval '1 second'
    from (
        select n, date '2017-01-01' + (n * 365 / %(rows)s)::integer as day
        from generate_series(0, %(rows)s::bigint - 1) as n
    ) as numbered
"""

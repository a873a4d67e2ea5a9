"""What the demo says at its end about the orders that a warehouse has loaded."""

import psycopg

from include.demo.__main__ import orders_in_words


def test_lines_orders_guests_cancelled_orders_and_refunds_are_counted(warehouse_dsn: str) -> None:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(
            """
            insert into raw.sales_fact (
                order_id, line_number, product_id, customer_id, order_date, order_amount, order_status, created_at,
                _batch_id, _loaded_at
            )
            select order_id, line_number, 'P1', customer_id, '2024-01-01', 1, order_status, '2024-01-01', 1, now()
            from (
                values
                    ('O1', 1, 'C1', 'paid'),
                    ('O1', 2, 'C1', 'paid'),
                    ('O2', 1, null, null),
                    ('O3', 1, '  ', ' Voided '),
                    ('O4', 1, 'C2', 'CANCELLED'),
                    ('O4', 2, 'C2', 'CANCELLED')
            ) as lines (order_id, line_number, customer_id, order_status)
            """
        )
        connection.execute(
            """
            insert into raw.refund (refund_id, refund_date, refund_amount, created_at, _batch_id, _loaded_at)
            values ('R1', '2024-01-05', 1, '2024-01-05', 1, now())
            """
        )
    assert orders_in_words(warehouse_dsn) == "6 order lines of 4 orders (2 by guests, 2 cancelled), 1 refunds"

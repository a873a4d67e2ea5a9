{# The product and customer of each refund, and the day of their versions: those of the order line that the
   refund names; else the customer of the order's first line, and what the refund itself names.

   `refunds` and `lines` are CTEs; the lines are those of the refunds' orders. #}
{% macro refund_keys(refunds, lines) -%}
select
        {{ refunds }}.refund_id,
        case
            when line.order_id is null then {{ refunds }}.product_id else line.product_id
        end as product_id,
        case
            when line.order_id is not null then line.customer_id
            when first_line.order_id is not null then first_line.customer_id
            else {{ refunds }}.customer_id
        end as customer_id,
        {{ refunds }}.refund_date,
        coalesce(line.order_date, {{ refunds }}.refund_date) as valid_on
    from {{ refunds }}
    left join {{ lines }} as line
        on
            {{ refunds }}.order_id = line.order_id
            and {{ refunds }}.line_number = line.line_number
    left join (
        select distinct on (order_id)
            order_id,
            customer_id
        from {{ lines }}
        order by order_id asc, line_number asc
    ) as first_line
        on {{ refunds }}.order_id = first_line.order_id
{%- endmacro %}

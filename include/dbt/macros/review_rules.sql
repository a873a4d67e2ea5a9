{# The rules for orders: for each name that the seed `review_rules` has, the condition under which an order breaks it.

   A condition is an expression over one order, which has the columns of the CTE `measured` in int_reviewed_sales, and over
   `threshold`, that of the rule's row in the seed. Null is not broken: what is unknown breaks no rule. To add a rule, add
   a row to the seed and a line here.

   `part` is what is rendered: `broken`, whether an order breaks the rule of the column `rule`; `as_first_order`,
   whether it would if it were the first order of its customer; `asks_for_first_order`, whether the rule asks for that. #}
{% macro review_rules(part='broken') -%}
{%- set conditions = {
    'high_discount': 'highest_discount_rate > threshold',
    'high_shipping': 'shipping_cost > threshold * order_amount',
    'below_cost': 'largest_loss > threshold',
    'price_off_list': 'largest_list_price_gap > threshold',
    'unusual_amount': 'order_amount > threshold * median_amount',
    'many_orders': 'orders_of_customer_and_day > threshold',
    'first_order_large': 'is_first_order and order_amount > threshold * median_amount',
    'discontinued_product': 'has_discontinued_product',
    'gone_customer': 'is_customer_gone',
    'dated_back': 'days_dated_back > threshold',
} -%}
case rule
            {%- for rule, condition in conditions.items() %}
            when '{{ rule }}'
                then {% if part == 'broken' -%}
                {{ condition }}
                {%- elif part == 'asks_for_first_order' -%}
                {{ 'is_first_order' in condition }}
                {%- elif 'is_first_order' in condition -%}
                {{ condition | replace('is_first_order', 'customer_id is not null') }}
                {%- else -%}
                false
                {%- endif %}
            {%- endfor %}
            -- A row of the seed without a condition is an error.
            else ('macros/review_rules.sql has no condition for ' || rule)::boolean
        end
{%- endmacro %}

{# Further days to rebuild in int_reviewed_sales: those of large orders that were the first of their customer and are not
   any more, or are it now, because another order of the customer, on any day, came or went. #}
{% macro days_of_other_first_orders() -%}
select reviewed.order_date
        from {{ this }} as reviewed
        left join {{ ref('int_customer_sales') }} as customers
            on reviewed.customer_id = customers.customer_id
        where
            reviewed.breaks_rule_as_first_order
            and reviewed.is_first_order
            <> coalesce(reviewed.order_date = customers.first_order_date, false)
{%- endmacro %}

{# The same days for order_for_reviews, which has only the orders that break a rule. #}
{% macro days_of_other_reasons() -%}
select reviewed.order_date
        from {{ ref('int_reviewed_sales') }} as reviewed
        left join {{ this }} as current_rows
            on reviewed.order_id = current_rows.order_id
        where
            reviewed.breaks_rule_as_first_order
            and reviewed.broken_rules <> coalesce(current_rows.broken_rules, '{}')
{%- endmacro %}

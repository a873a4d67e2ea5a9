{# The band of a line's discount, which is a fraction. #}
{% macro discount_band(discount_rate) -%}
case
            when {{ discount_rate }} = 0 then 'none'
            when {{ discount_rate }} <= 0.10 then 'to 10 %'
            when {{ discount_rate }} <= 0.20 then 'to 20 %'
            when {{ discount_rate }} <= 0.30 then 'to 30 %'
            else 'over 30 %'
        end
{%- endmacro %}

{# The band of a line's shipping cost, by its share of the line's amount. #}
{% macro shipping_band(shipping_cost, order_amount) -%}
case
            when {{ shipping_cost }} = 0 then 'free'
            when {{ shipping_cost }} <= 0.05 * {{ order_amount }} then 'to 5 %'
            when {{ shipping_cost }} <= 0.10 * {{ order_amount }} then 'to 10 %'
            else 'over 10 %'
        end
{%- endmacro %}

{# A post-hook of int_product_pair_sales: when a further month is complete, its rows replace those of the months
   up to the one before. #}
{% macro delete_former_months() -%}
{%- if execute and is_incremental() -%}
delete from {{ this }}
where counted_month <> (
    select max(period_start) from {{ ref('int_periods') }}
    where grain = 'month' and is_complete
)
{%- endif -%}
{%- endmacro %}

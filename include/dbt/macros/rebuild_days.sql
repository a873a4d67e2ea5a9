{# The incremental strategy `rebuild_days`: the days that the dirty-date ledger has claimed are deleted
   and built again. A model names the sources whose marks it follows and its own day column:

       meta={'claimed_from': ['sales_fact', 'product'], 'day_column': 'date_key'}

   Unlike dbt's delete+insert this also empties a day that has no rows any more. #}

{% macro claimed_days(sources) -%}
array(
        select claimed_day from {{ ref('stg_claimed_days') }}
        where source_name in ('{{ sources | join("', '") }}')
    )
{%- endmacro %}

{# Limits an import to the claimed days in an incremental run. The array is computed once, before the
   query starts: a join would not reach through the views of staging to raw's index. #}
{% macro only_claimed_days(sources, day) -%}
{%- set claimed = claimed_days(sources) -%}
{%- if is_incremental() -%}
where {{ day }} = any({{ claimed }})
{%- endif -%}
{%- endmacro %}

{% macro get_incremental_rebuild_days_sql(arg_dict) -%}
{%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
delete from {{ arg_dict['target_relation'] }}
    where {{ config.meta_require('day_column') }}
    = any({{ claimed_days(config.meta_require('claimed_from')) }});

    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}

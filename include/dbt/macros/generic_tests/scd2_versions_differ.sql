{% test scd2_versions_differ(model, key, tracked) %}

with versions as (

    select
        *,
        row_number() over log as place,
        {%- for column in tracked %}
        {{ column }} is not distinct from lag({{ column }}) over log as is_same_{{ column }}
        {{- "," if not loop.last }}
        {%- endfor %}
    from {{ model }}
    window log as (partition by {{ key }} order by valid_from)

)

select * from versions
where place > 1 and is_same_{{ tracked | join(' and is_same_') }}

{% endtest %}

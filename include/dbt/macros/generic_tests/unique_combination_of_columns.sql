{% test unique_combination_of_columns(model, combination_of_columns) %}

select
    {{ combination_of_columns | join(', ') }},
    count(*) as n_records
from {{ model }}
where not {{ is_enforced_key(combination_of_columns) }}
group by {{ combination_of_columns | join(', ') }}
having count(*) > 1

{% endtest %}

{% test scd2_key_of_version(model, column_name, key) %}

select * from {{ model }}
where {{ column_name }} is distinct from {{ surrogate_key(key, 'valid_from') }}

{% endtest %}

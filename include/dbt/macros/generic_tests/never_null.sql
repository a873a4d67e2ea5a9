{% test never_null(model, columns) %}

select * from {{ model }}
where num_nulls({{ columns | join(', ') }}) > 0

{% endtest %}

{# No row lacks any of these columns: one scan for what would be one `not_null` test a column. #}
{% test never_null(model, columns) %}

select * from {{ model }}
where num_nulls({{ columns | join(', ') }}) > 0

{% endtest %}

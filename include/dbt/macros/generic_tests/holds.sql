{# A condition is true of every row. Unknown (null) passes: what is not known contradicts nothing. #}
{% test holds(model, condition) %}

select * from {{ model }}
where not ({{ condition }})

{% endtest %}

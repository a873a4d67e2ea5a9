{# Not corr(), which adds up floats: its last digits depend on the order of the rows. #}
{% macro correlation(x, y) -%}
round(
            (count(*) * sum({{ x }} * {{ y }}) - sum({{ x }}) * sum({{ y }}))
            / nullif(
                sqrt(
                    (count(*) * sum({{ x }} * {{ x }}) - sum({{ x }}) * sum({{ x }}))
                    * (count(*) * sum({{ y }} * {{ y }}) - sum({{ y }}) * sum({{ y }}))
                ),
                0
            ),
            4
        )
{%- endmacro %}

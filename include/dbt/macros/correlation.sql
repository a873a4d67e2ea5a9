{# Pearson, not rounded. Not corr(), which adds up floats: its last digits depend on the order of the rows. #}
{% macro correlation(x, y) -%}
(
            (count(*) * sum({{ x }} * {{ y }}) - sum({{ x }}) * sum({{ y }}))
            / nullif(
                sqrt(
                    (count(*) * sum({{ x }} * {{ x }}) - sum({{ x }}) * sum({{ x }}))
                    * (count(*) * sum({{ y }} * {{ y }}) - sum({{ y }}) * sum({{ y }}))
                ),
                0
            )
        )
{%- endmacro %}

{# One end of Fisher's interval with 95 %, not rounded: tanh(atanh(r) ± 1.96 / sqrt(n - 3)). It is written by
   `exp` alone, since Postgres has tanh() for floats only: with w = (1 + r) / (1 - r) × exp(± 2 × 1.96 /
   sqrt(n - 3)) it is (w - 1) / (w + 1). Where r is 1, so are both ends.

   `sign` is `-` or `+`; `pairs` is n, more than 3. #}
{% macro fisher_bound(correlation, pairs, sign) -%}
{%- set w -%}
(
                (1 + {{ correlation }}) / nullif(1 - {{ correlation }}, 0)
                * exp({{ sign }}2 * 1.959963984540054 / sqrt({{ pairs }} - 3::numeric))
            )
{%- endset -%}
case
            when {{ correlation }} = 1 then 1
            else ({{ w }} - 1) / ({{ w }} + 1)
        end
{%- endmacro %}

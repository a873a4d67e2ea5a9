{# The key of a version is a hash, so it is the same in every rebuild, and an inferred member has the key
   that its real first version will have. Seconds since the epoch do not depend on the session's time
   zone; the text of a timestamp does. No two pairs have the same text: the seconds have no `|`, and a
   natural key is never empty (staging makes an empty one null). #}
{% macro surrogate_key(natural_key, valid_from) -%}
case
            when {{ natural_key }} is null then {{ fixed_member_key() }}
            else md5({{ natural_key }} || '|' || extract(epoch from {{ valid_from }}))::uuid
        end
{%- endmacro %}

{# The key of the fixed member of a dimension that has no natural key: the guest among the customers, the
   unknown product of a refund among the products. It does not depend on `valid_from`, which is -infinity. #}
{% macro fixed_member_key() -%}
md5('|-Infinity')::uuid
{%- endmacro %}

{% macro history_of(log, key) -%}
select distinct on ({{ key }}, valid_from) *
    from (
        select
            *,
            case
                when row_number() over (partition by {{ key }} order by batch_id, changed_at) = 1
                    then '-infinity'
                else changed_at
            end as valid_from
        from {{ log }}
    ) as log_with_opening
    order by {{ key }}, valid_from, batch_id desc
{%- endmacro %}

{% macro is_change(tracked, versions) -%}
valid_from = '-infinity'
        {%- for column in tracked %}
        or ({{ column }} is distinct from lag({{ column }}) over {{ versions }})
        {%- endfor %}
{%- endmacro %}

{% macro closes_at(key) -%}
lead(valid_from, 1, 'infinity') over (partition by {{ key }} order by valid_from)
{%- endmacro %}

{% macro valid_at(version, instant) -%}
{{ version }}.valid_from <= {{ instant }}
        and {{ instant }} < {{ version }}.valid_to
{%- endmacro %}

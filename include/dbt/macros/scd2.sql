{# Slowly changing dimensions of type 2, derived from version logs. #}

{# The key of a version depends on its natural key and opening alone, so it survives rebuilds, and an
   inferred member has the key its real first version will have. Seconds since the epoch, unlike a
   timestamp's text, do not depend on the session. #}
{% macro surrogate_key(natural_key, valid_from) -%}
md5({{ natural_key }} || '|' || extract(epoch from {{ valid_from }}))::uuid
{%- endmacro %}

{# The versions of a log that ever were in force, with `valid_from`: the first version of a key holds
   since ever, and of several that open at one instant the last one counts. #}
{% macro history_of(log, key) -%}
select distinct on ({{ key }}, valid_from) *
    from (
        select
            *,
            case
                when batch_id = min(batch_id) over (partition by {{ key }}) then '-infinity'
                else changed_at
            end as valid_from
        from {{ log }}
    ) as opened
    order by {{ key }}, valid_from, batch_id desc
{%- endmacro %}

{# Whether a version differs from the one before it, along a window of the versions of a key, in a
   tracked column. #}
{% macro is_change(tracked, versions) -%}
valid_from = '-infinity'
        {%- for column in tracked %}
        or ({{ column }} is distinct from lag({{ column }}) over {{ versions }})
        {%- endfor %}
{%- endmacro %}

{# Where a version ends: half-open, at the opening of the next. #}
{% macro closes_at(key) -%}
lead(valid_from, 1, 'infinity') over (partition by {{ key }} order by valid_from)
{%- endmacro %}

{# Whether a version is the one in force at an instant. #}
{% macro valid_at(version, instant) -%}
{{ version }}.valid_from <= {{ instant }}
        and {{ instant }} < {{ version }}.valid_to
{%- endmacro %}

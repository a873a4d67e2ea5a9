{% test scd2_no_gap_or_overlap(model, key) %}

with versions as (

    select
        *,
        lag(valid_to, 1, '-infinity') over (partition by {{ key }} order by valid_from) as opens_at,
        lead(valid_from, 1, 'infinity') over (partition by {{ key }} order by valid_from) as closes_at
    from {{ model }}

)

select * from versions
where
    valid_from >= valid_to
    or valid_from is distinct from opens_at
    or valid_to is distinct from closes_at
    or is_current is distinct from (valid_to = 'infinity')

{% endtest %}

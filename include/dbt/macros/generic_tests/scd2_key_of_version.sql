{% test scd2_key_of_version(model, column_name, key) %}

select * from {{ model }}
where {{ column_name }} is distinct from 
    case
        when {{ key }} is null then {{ fixed_member_key() }}
        else {{ surrogate_key(key, 'valid_from') }}
    end

{% endtest %}

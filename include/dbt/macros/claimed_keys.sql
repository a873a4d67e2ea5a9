{# The keys with a new version that the build under way has claimed. #}
{% macro claimed_keys(versions, key) %}

with builds as (

    select * from {{ source('ops', 'build') }}

),

batches as (

    select * from {{ source('ops', 'load_batch') }}

),

versions as (

    select * from {{ ref(versions) }}

),

final as (

    select distinct versions.{{ key }}
    from versions
    inner join batches
        on versions.batch_id = batches.batch_id
    inner join builds
        on batches.built_by = builds.run_id
    where builds.finished_at is null

)

select * from final

{% endmacro %}

-- Grain: one row per check, subject and failure, until it passed again.
with check_results as (

    select * from {{ ref('quality_judgements') }}

),

-- Most checks never fail, and their results are not needed. The model is referenced a second time
-- so that Postgres finds the failures by an index and does not store all results for both uses.
ever_failed as (

    select distinct
        check_name,
        subject
    from {{ ref('quality_judgements') }}
    where status = 'fail'

),

-- Results with the same number of passes before them lie between the same two passes; the later
-- pass ends the failure.
stretches as (

    select
        check_results.*,
        count(*) filter (where check_results.status = 'pass') over (
            partition by check_results.check_name, check_results.subject
            order by check_results.checked_at, check_results.check_result_id
            rows between unbounded preceding and 1 preceding
        ) as passes_before
    from check_results
    inner join ever_failed
        on
            check_results.check_name = ever_failed.check_name
            and check_results.subject = ever_failed.subject

),

failures as (

    select
        check_name,
        subject,
        subject_kind,
        subject_name,
        min(checked_at) filter (where status = 'fail') as failed_at,
        max(checked_at) filter (where status = 'pass') as repaired_at
    from stretches
    group by check_name, subject, subject_kind, subject_name, passes_before
    having count(*) filter (where status = 'fail') > 0

),

final as (

    select
        check_name,
        subject,
        subject_kind,
        subject_name,
        {{ shop_day('failed_at') }} as failed_on,
        failed_at,
        repaired_at,
        round(extract(epoch from repaired_at - failed_at) / 3600, 2) as hours_to_repair
    from failures

)

select * from final

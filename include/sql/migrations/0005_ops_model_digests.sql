-- A change of the dbt project rebuilds the models that it concerns, and no longer all.
alter table if exists ops.build
add column if not exists model_digests jsonb,
add column if not exists refreshed_models text[] not null default '{}';

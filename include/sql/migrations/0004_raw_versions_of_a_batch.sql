-- A load of the changes of a table may bring several versions of one key, each valid from its own time.
do $$
declare
    log record;
begin
    for log in
        select *
        from (values ('product', 'product_id'), ('customer', 'customer_id')) as logs (table_name, key)
        where exists (
            select from pg_constraint
            where
                conrelid = to_regclass('raw.' || logs.table_name)
                and contype = 'p'
                and array_length(conkey, 1) = 2
        )
    loop
        execute format('alter table raw.%1$I drop constraint %1$s_pkey', log.table_name);
        execute format('alter table raw.%1$I add primary key (%2$I, _batch_id, _valid_from)', log.table_name, log.key);
    end loop;
end
$$;

-- A load of the changes of a table may bring several versions of one key, each valid from its own time.
alter table if exists raw.product
drop constraint if exists product_pkey,
add primary key (product_id, _batch_id, _valid_from);

alter table if exists raw.customer
drop constraint if exists customer_pkey,
add primary key (customer_id, _batch_id, _valid_from);

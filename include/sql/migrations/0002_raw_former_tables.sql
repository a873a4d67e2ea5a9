-- Tables of raw as they were before changes had numbers. Each statement does something only where it is needed.

-- The digits of the message's time after the microsecond, which "timestamp" cannot hold; null if there are none.
alter table if exists raw.kafka_stream add column if not exists _below_microsecond text;

-- From before there were order lines: each order is its own line 1.
alter table if exists raw.sales_fact
    add column if not exists line_number integer not null default 1,
    add column if not exists tax_amount numeric,
    add column if not exists order_status text,
    alter column customer_id drop not null;
alter table if exists raw.sales_fact alter column line_number drop default;
select ops.upgrade_sales_fact();
drop index if exists raw.sales_fact_created_at, raw.sales_fact_order_date, raw.refund_order;

-- From before `_valid_from` was never after the read, and only a later change time than before counted. One change that
-- was dated in the future had hidden all later ones of its product, and one with an old date had rewritten history. Each
-- gets the time that the loader would give it now, and the next build makes all models anew.
select ops.upgrade_product_category();

-- From before shops were profiles: it has the numbers of customers, 1 for CUST001.
select ops.upgrade_subscription_data();

-- From before keys were trimmed of all white space: the same key has one spelling, also in the versions of before.
-- Otherwise the next load would delete the old spelling, and add the new one, in one batch. Of two spellings in one
-- batch one version stays, and the ledger counts it once.
select ops.trim_keys_of_raw();

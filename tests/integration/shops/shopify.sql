-- A small shop of Shopify as Fivetran's connector (REST schema) writes it to Postgres, with fewer columns. The currency
-- is USD. The connector makes primary keys and no other index.
drop schema if exists shopify cascade;
create schema shopify;

create table shopify."order" (
    id bigint primary key,
    created_at timestamptz,
    processed_at timestamptz,
    updated_at timestamptz,
    cancelled_at timestamptz,
    cancel_reason text,
    currency text,
    customer_id bigint,
    financial_status text,
    name text,
    subtotal_price numeric,
    taxes_included boolean,
    test boolean,
    total_discounts numeric,
    total_price numeric,
    total_tax numeric,
    source_name text,
    _fivetran_deleted boolean,
    _fivetran_synced timestamptz
);

create table shopify.order_line (
    id bigint primary key,
    order_id bigint,
    index bigint,
    product_id bigint,
    variant_id bigint,
    sku text,
    name text,
    price numeric,
    quantity bigint,
    total_discount numeric,
    gift_card boolean,
    _fivetran_synced timestamptz
);

create table shopify.discount_allocation (
    order_line_id bigint,
    index bigint,
    amount numeric,
    discount_application_index bigint,
    primary key (order_line_id, index)
);

create table shopify.tax_line (
    order_line_id bigint,
    index bigint,
    price double precision,
    rate double precision,
    title text,
    primary key (order_line_id, index)
);

create table shopify.order_shipping_line (
    id bigint primary key,
    order_id bigint,
    title text,
    price numeric,
    discounted_price numeric
);

create table shopify.order_shipping_tax_line (
    order_shipping_line_id bigint,
    index bigint,
    price double precision,
    primary key (order_shipping_line_id, index)
);

create table shopify.transaction (
    id bigint primary key,
    order_id bigint,
    refund_id bigint,
    amount numeric,
    gateway text,
    kind text,
    status text,
    created_at timestamptz,
    test boolean
);

create table shopify.refund (
    id bigint primary key,
    order_id bigint,
    created_at timestamptz,
    processed_at timestamptz,
    note text,
    restock boolean
);

create table shopify.order_line_refund (
    id bigint primary key,
    refund_id bigint,
    order_line_id bigint,
    quantity double precision,
    subtotal numeric,
    total_tax numeric,
    restock_type text
);

create table shopify.order_adjustment (
    id bigint primary key,
    order_id bigint,
    refund_id bigint,
    amount numeric,
    tax_amount numeric,
    kind text,
    reason text
);

create table shopify.product (
    id bigint primary key,
    title text,
    product_type text,
    vendor text,
    status text,
    created_at timestamptz,
    published_at timestamptz,
    updated_at timestamptz,
    _fivetran_deleted boolean
);

create table shopify.product_variant (
    id bigint primary key,
    product_id bigint,
    inventory_item_id bigint,
    title text,
    sku text,
    price numeric,
    inventory_quantity bigint,
    created_at timestamptz,
    updated_at timestamptz
);

create table shopify.inventory_item (
    id bigint primary key,
    sku text,
    tracked boolean,
    unit_cost_amount numeric,
    unit_cost_currency_code text,
    _fivetran_deleted boolean
);

create table shopify.customer (
    id bigint primary key,
    first_name text,
    last_name text,
    email text,
    state text,
    created_at timestamptz,
    updated_at timestamptz
);

insert into shopify.product values
    (71001, 'Ball', 'Sports', 'Acme', 'active', '2024-01-10 09:00:00+00', '2024-01-12 00:00:00+00',
     '2024-02-01 12:00:00+00', false),
    (71002, 'Shirt', '', 'Weaver', 'archived', '2024-01-11 09:00:00+00', null, '2024-02-02 12:00:00+00', false),
    (71003, 'Kite', 'Sports', null, 'active', '2024-01-12 09:00:00+00', null, '2024-02-03 12:00:00+00', true);
insert into shopify.product_variant values
    (450000000001, 71001, 9001, 'Default Title', 'ball', 10.00, 5, '2024-01-10 09:00:00+00', '2024-02-05 12:00:00+00'),
    (450000000002, 71002, 9002, 'Red', 'shirt-red', 20.00, 3, '2024-01-11 09:00:00+00', '2024-02-02 12:00:00+00'),
    (450000000003, 71002, 9003, 'Blue', 'shirt-blue', 24.00, 0, '2024-01-11 09:00:00+00', '2024-02-02 12:00:00+00'),
    (450000000004, 71003, 9004, 'Default Title', 'kite', 7.00, 1, '2024-01-12 09:00:00+00', '2024-02-03 12:00:00+00');
insert into shopify.inventory_item values
    (9001, 'ball', true, 4.00, 'USD', false), (9002, 'shirt-red', true, 8.50, 'USD', false),
    (9003, 'shirt-blue', false, null, null, false), (9004, 'kite', true, 2, 'USD', true);
insert into shopify.customer values
    (3001, 'Ada', 'Lovelace', 'ada@example.com', 'enabled', '2024-01-05 23:30:00+00', '2024-03-01 10:00:00+00'),
    (3002, 'Bo', null, 'bo@example.com', 'disabled', '2024-01-06 10:00:00+00', '2024-03-01 10:00:00+00');

insert into shopify."order"
    (id, created_at, cancelled_at, customer_id, financial_status, taxes_included, test, total_price, source_name,
     _fivetran_deleted)
values
    -- 10 % on the whole order: 36.00, tax 2.88, shipping 4.90 and its tax 0.39.
    (5550000000001, '2024-03-01 10:00:00+00', null, 3001, 'partially_refunded', false, false, 44.17, 'web', false),
    -- At the till, nobody named; prices include the tax of 20 %; the next day in UTC.
    (5550000000002, '2024-03-01 23:30:00-02', null, null, 'partially_refunded', true, false, 30.00, 'pos', false),
    -- Paid, then cancelled and refunded.
    (5550000000003, '2024-03-01 11:00:00+00', '2024-03-02 08:00:00+00', 3002, 'refunded', false, false, 10.80, 'web',
     false),
    (5550000000004, '2024-03-01 12:00:00+00', null, 3002, 'paid', false, true, 10.80, 'web', false),
    (5550000000005, '2024-03-01 12:10:00+00', null, 3002, 'voided', false, false, 10.80, 'web', false),
    -- A gift card of 50.00 and a ball.
    (5550000000006, '2024-03-02 09:00:00+00', null, 3002, 'paid', false, false, 63.80, 'web', null),
    (5550000000007, '2024-03-02 10:00:00+00', null, 3002, 'paid', false, false, 10.80, 'web', true),
    -- Something that is no product, not paid yet.
    (5550000000008, '2024-03-02 11:00:00+00', null, 3001, 'pending', false, false, 12.00, 'shopify_draft_order', false);
insert into shopify.order_line
    (id, order_id, index, product_id, variant_id, sku, price, quantity, total_discount, gift_card)
values
    (12000000000011, 5550000000001, 1, 71001, 450000000001, 'ball', 10.00, 2, 0, false),
    (12000000000012, 5550000000001, 2, 71002, 450000000002, 'shirt-red', 20.00, 1, 0, false),
    (12000000000021, 5550000000002, 1, 71002, 450000000003, 'shirt-blue', 24.00, 1, 0, false),
    (12000000000031, 5550000000003, 1, 71001, 450000000001, 'ball', 10.00, 1, 0, false),
    (12000000000041, 5550000000004, 1, 71001, 450000000001, 'ball', 10.00, 1, 0, false),
    (12000000000051, 5550000000005, 1, 71001, 450000000001, 'ball', 10.00, 1, 0, false),
    (12000000000061, 5550000000006, 1, 71009, 450000000009, null, 50.00, 1, 0, true),
    (12000000000062, 5550000000006, 2, 71001, 450000000001, 'ball', 10.00, 1, 0, false),
    (12000000000071, 5550000000007, 1, 71001, 450000000001, 'ball', 10.00, 1, 0, false),
    (12000000000081, 5550000000008, 1, null, null, null, 12.00, 1, 0, false);
insert into shopify.discount_allocation values (12000000000011, 1, 2.00, 0), (12000000000012, 1, 2.00, 0);
insert into shopify.tax_line values
    (12000000000011, 1, 1.08, 0.06, 'State tax'), (12000000000011, 2, 0.36, 0.02, 'City tax'),
    (12000000000012, 1, 1.08, 0.06, 'State tax'), (12000000000012, 2, 0.36, 0.02, 'City tax'),
    (12000000000021, 1, 4.00, 0.2, 'VAT'), (12000000000031, 1, 0.80, 0.08, 'State tax'),
    (12000000000051, 1, 0.80, 0.08, 'State tax'), (12000000000062, 1, 0.80, 0.08, 'State tax');
insert into shopify.order_shipping_line values
    (8001, 5550000000001, 'Standard', 4.90, 4.90), (8002, 5550000000002, 'Courier', 8.00, 6.00),
    (8006, 5550000000006, 'Standard', 3.00, 3.00);
insert into shopify.order_shipping_tax_line values (8001, 1, 0.39), (8002, 1, 1.00);
insert into shopify.transaction values
    (9501, 5550000000001, null, 44.17, 'paypal', 'sale', 'failure', '2024-03-01 09:58:00+00', false),
    (9502, 5550000000001, null, 44.17, 'shopify_payments', 'authorization', 'success', '2024-03-01 10:00:00+00', false),
    (9503, 5550000000001, null, 44.17, 'shopify_payments', 'capture', 'success', '2024-03-02 10:00:00+00', false),
    (9504, 5550000000001, 6001, 14.62, 'shopify_payments', 'refund', 'success', '2024-03-03 09:00:00+00', false),
    (9505, 5550000000002, null, 30.00, 'cash', 'sale', 'success', '2024-03-02 01:30:00+00', false),
    (9506, 5550000000003, null, 10.80, 'shopify_payments', 'sale', 'success', '2024-03-01 11:00:00+00', false),
    (9507, 5550000000006, null, 63.80, 'shopify_payments', 'sale', 'success', '2024-03-02 09:00:00+00', false);

insert into shopify.refund values
    (6001, 5550000000001, '2024-03-03 09:00:00+00', '2024-03-03 09:00:00+00', 'damaged', true),
    (6002, 5550000000002, '2024-03-03 10:00:00+00', '2024-03-03 10:00:00+00', 'worn', true),
    (6003, 5550000000006, '2024-03-03 11:00:00+00', '2024-03-03 11:00:00+00', 'late', false),
    (6004, 5550000000003, '2024-03-02 08:00:00+00', '2024-03-02 08:00:00+00', null, true),
    (6005, 5550000000006, '2024-03-03 12:00:00+00', '2024-03-03 12:00:00+00', null, false);
insert into shopify.order_line_refund values
    (6101, 6001, 12000000000011, 1, 9.00, 0.72, 'return'),
    -- With the tax of 4.00 in it.
    (6102, 6002, 12000000000021, 1, 24.00, 4.00, 'return'),
    (6104, 6004, 12000000000031, 1, 10.00, 0.80, 'cancel'),
    (6105, 6005, 12000000000061, 1, 50.00, 0, 'no_restock');
insert into shopify.order_adjustment values
    (6201, 5550000000001, 6001, -4.90, -0.39, 'shipping_refund', 'Shipping refund'),
    -- Five dollars less than the shirt.
    (6202, 5550000000002, 6002, 5.00, 0, 'refund_discrepancy', 'Refund discrepancy'),
    -- An amount without a line.
    (6203, 5550000000006, 6003, -2.50, 0, 'refund_discrepancy', 'Refund discrepancy');

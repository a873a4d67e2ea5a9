-- A small shop in Magento 2.4: its tables as the modules make them, with fewer columns. Tax is 19 %, the base currency
-- EUR; one order was paid in USD.
create table sales_order (
    entity_id int unsigned not null auto_increment,
    state varchar(32) default null,
    status varchar(32) default null,
    store_id smallint unsigned default null,
    customer_id int unsigned default null,
    base_discount_amount decimal(20, 4) default null,
    base_grand_total decimal(20, 4) default null,
    base_shipping_amount decimal(20, 4) default null,
    base_shipping_tax_amount decimal(20, 4) default null,
    base_subtotal decimal(20, 4) default null,
    base_tax_amount decimal(20, 4) default null,
    base_total_canceled decimal(20, 4) default null,
    grand_total decimal(20, 4) default null,
    customer_is_guest smallint unsigned default null,
    base_shipping_discount_amount decimal(20, 4) default null,
    increment_id varchar(50) default null,
    base_currency_code varchar(3) default null,
    customer_email varchar(128) default null,
    order_currency_code varchar(3) default null,
    created_at timestamp not null default current_timestamp,
    updated_at timestamp not null default current_timestamp on update current_timestamp,
    base_shipping_discount_tax_compensation_amnt decimal(20, 4) default null,
    primary key (entity_id),
    key SALES_ORDER_STATE (state),
    key SALES_ORDER_CREATED_AT (created_at),
    key SALES_ORDER_UPDATED_AT (updated_at)
) default charset = utf8mb3;

create table sales_order_item (
    item_id int unsigned not null auto_increment,
    order_id int unsigned not null default 0,
    parent_item_id int unsigned default null,
    created_at timestamp not null default current_timestamp,
    product_id int unsigned default null,
    product_type varchar(255) default null,
    sku varchar(255) default null,
    name varchar(255) default null,
    qty_canceled decimal(12, 4) default 0,
    qty_ordered decimal(12, 4) default 0,
    base_tax_amount decimal(20, 4) default 0,
    base_discount_amount decimal(20, 4) default 0,
    base_row_total decimal(20, 4) not null default 0,
    base_row_total_incl_tax decimal(20, 4) default null,
    base_discount_tax_compensation_amount decimal(20, 4) default null,
    primary key (item_id),
    key SALES_ORDER_ITEM_ORDER_ID (order_id)
) default charset = utf8mb3;

create table sales_order_payment (
    entity_id int unsigned not null auto_increment,
    parent_id int unsigned not null,
    base_amount_paid decimal(20, 4) default null,
    method varchar(128) default null,
    primary key (entity_id),
    key SALES_ORDER_PAYMENT_PARENT_ID (parent_id)
) default charset = utf8mb3;

create table sales_creditmemo (
    entity_id int unsigned not null auto_increment,
    store_id smallint unsigned default null,
    base_shipping_amount decimal(20, 4) default null,
    base_adjustment_negative decimal(20, 4) default null,
    base_adjustment_positive decimal(20, 4) default null,
    base_grand_total decimal(20, 4) default null,
    order_id int unsigned not null,
    state int default null,
    created_at timestamp not null default current_timestamp,
    customer_note text,
    primary key (entity_id),
    key SALES_CREDITMEMO_ORDER_ID (order_id),
    key SALES_CREDITMEMO_CREATED_AT (created_at)
) default charset = utf8mb3;

create table sales_creditmemo_item (
    entity_id int unsigned not null auto_increment,
    parent_id int unsigned not null,
    base_discount_amount decimal(20, 4) default null,
    base_tax_amount decimal(20, 4) default null,
    base_row_total decimal(20, 4) default null,
    base_discount_tax_compensation_amount decimal(20, 4) default null,
    qty decimal(12, 4) default null,
    order_item_id int default null,
    primary key (entity_id),
    key SALES_CREDITMEMO_ITEM_PARENT_ID (parent_id)
) default charset = utf8mb3;

create table customer_entity (
    entity_id int unsigned not null auto_increment,
    email varchar(255) default null,
    created_at timestamp not null default current_timestamp,
    is_active smallint unsigned not null default 1,
    firstname varchar(255) default null,
    lastname varchar(255) default null,
    primary key (entity_id)
) default charset = utf8mb3;

create table eav_entity_type (
    entity_type_id smallint unsigned not null auto_increment,
    entity_type_code varchar(50) not null,
    primary key (entity_type_id)
) default charset = utf8mb3;

create table eav_attribute (
    attribute_id smallint unsigned not null auto_increment,
    entity_type_id smallint unsigned not null default 0,
    attribute_code varchar(255) not null,
    backend_type varchar(8) not null default 'static',
    primary key (attribute_id),
    unique key EAV_ATTRIBUTE_ENTITY_TYPE_ID_ATTRIBUTE_CODE (entity_type_id, attribute_code)
) default charset = utf8mb3;

create table eav_attribute_option_value (
    value_id int unsigned not null auto_increment,
    option_id int unsigned not null default 0,
    store_id smallint unsigned not null default 0,
    value varchar(255) default null,
    primary key (value_id),
    key EAV_ATTRIBUTE_OPTION_VALUE_OPTION_ID (option_id)
) default charset = utf8mb3;

create table catalog_product_entity (
    entity_id int unsigned not null auto_increment,
    attribute_set_id smallint unsigned not null default 0,
    type_id varchar(32) not null default 'simple',
    sku varchar(64) not null,
    created_at timestamp not null default current_timestamp,
    updated_at timestamp not null default current_timestamp on update current_timestamp,
    primary key (entity_id),
    unique key CATALOG_PRODUCT_ENTITY_SKU (sku)
) default charset = utf8mb3;

create table catalog_product_entity_varchar (
    value_id int not null auto_increment,
    attribute_id smallint unsigned not null default 0,
    store_id smallint unsigned not null default 0,
    entity_id int unsigned not null default 0,
    value varchar(255) default null,
    primary key (value_id),
    unique key entity_attribute_store (entity_id, attribute_id, store_id)
) default charset = utf8mb3;

create table catalog_product_entity_decimal (
    value_id int not null auto_increment,
    attribute_id smallint unsigned not null default 0,
    store_id smallint unsigned not null default 0,
    entity_id int unsigned not null default 0,
    value decimal(20, 6) default null,
    primary key (value_id),
    unique key entity_attribute_store (entity_id, attribute_id, store_id)
) default charset = utf8mb3;

create table catalog_product_entity_int (
    value_id int not null auto_increment,
    attribute_id smallint unsigned not null default 0,
    store_id smallint unsigned not null default 0,
    entity_id int unsigned not null default 0,
    value int default null,
    primary key (value_id),
    unique key entity_attribute_store (entity_id, attribute_id, store_id)
) default charset = utf8mb3;

create table catalog_product_super_link (
    link_id int unsigned not null auto_increment,
    product_id int unsigned not null default 0,
    parent_id int unsigned not null default 0,
    primary key (link_id),
    unique key CATALOG_PRODUCT_SUPER_LINK_PRODUCT_ID_PARENT_ID (product_id, parent_id)
) default charset = utf8mb3;

create table catalog_category_entity (
    entity_id int unsigned not null auto_increment,
    parent_id int unsigned not null default 0,
    path varchar(255) not null,
    position int not null,
    level int not null default 0,
    primary key (entity_id)
) default charset = utf8mb3;

create table catalog_category_entity_varchar (
    value_id int not null auto_increment,
    attribute_id smallint unsigned not null default 0,
    store_id smallint unsigned not null default 0,
    entity_id int unsigned not null default 0,
    value varchar(255) default null,
    primary key (value_id),
    unique key entity_attribute_store (entity_id, attribute_id, store_id)
) default charset = utf8mb3;

create table catalog_category_product (
    entity_id int not null auto_increment,
    category_id int unsigned not null default 0,
    product_id int unsigned not null default 0,
    position int not null default 0,
    primary key (entity_id, category_id, product_id),
    key CATALOG_CATEGORY_PRODUCT_PRODUCT_ID (product_id)
) default charset = utf8mb3;

create table cataloginventory_stock_item (
    item_id int unsigned not null auto_increment,
    product_id int unsigned not null default 0,
    stock_id smallint unsigned not null default 0,
    qty decimal(12, 4) default null,
    notify_stock_qty decimal(12, 4) default null,
    manage_stock smallint unsigned not null default 0,
    use_config_manage_stock smallint unsigned not null default 1,
    website_id smallint unsigned not null default 0,
    primary key (item_id),
    unique key CATALOGINVENTORY_STOCK_ITEM_PRODUCT_ID_STOCK_ID (product_id, stock_id)
) default charset = utf8mb3;

insert into eav_entity_type values (1, 'customer'), (3, 'catalog_category'), (4, 'catalog_product');
insert into eav_attribute values
    (45, 3, 'name', 'varchar'), (73, 4, 'name', 'varchar'), (77, 4, 'price', 'decimal'), (81, 4, 'cost', 'decimal'),
    (83, 4, 'manufacturer', 'int'), (97, 4, 'status', 'int');
insert into eav_attribute_option_value values (1, 50, 0, 'Acme'), (2, 50, 1, 'Acme GmbH');

insert into catalog_category_entity values
    (1, 0, '1', 0, 0), (2, 1, '1/2', 1, 1), (10, 2, '1/2/10', 1, 2), (11, 2, '1/2/11', 2, 2), (12, 11, '1/2/11/12', 1, 3);
insert into catalog_category_entity_varchar (attribute_id, store_id, entity_id, value) values
    (45, 0, 1, 'Root Catalog'), (45, 0, 2, 'Default Category'), (45, 0, 10, 'Sports'), (45, 1, 10, 'Sport'),
    (45, 0, 11, 'Clothing'), (45, 0, 12, 'Shirts');

insert into catalog_product_entity (entity_id, type_id, sku, created_at, updated_at) values
    (1, 'simple', 'ball', '2024-01-10 09:00:00', '2024-02-01 12:00:00'),
    (2, 'configurable', 'shirt', '2024-01-11 09:00:00', '2024-02-02 12:00:00'),
    (3, 'simple', 'shirt-red', '2024-01-11 09:00:00', '2024-02-02 12:00:00'),
    (4, 'bundle', 'set', '2024-01-12 09:00:00', '2024-02-03 12:00:00'),
    (5, 'simple', 'lamp', '2024-01-13 09:00:00', '2024-02-04 12:00:00');
insert into catalog_product_entity_varchar (attribute_id, store_id, entity_id, value) values
    (73, 0, 1, 'Ball'), (73, 1, 1, 'Der Ball'), (73, 0, 2, 'Shirt'), (73, 0, 3, 'Shirt-Red'), (73, 0, 4, 'Set');
insert into catalog_product_entity_decimal (attribute_id, store_id, entity_id, value) values
    (77, 0, 1, 10), (77, 1, 1, 11), (81, 0, 1, 4), (77, 0, 3, 20), (81, 0, 3, 8.5), (77, 0, 5, 30);
insert into catalog_product_entity_int (attribute_id, store_id, entity_id, value) values
    (97, 0, 1, 1), (83, 0, 1, 50), (97, 0, 2, 1), (97, 0, 3, 1), (97, 0, 4, 1), (97, 0, 5, 2);
insert into catalog_product_super_link (product_id, parent_id) values (3, 2);
-- Most shops assign everything to their root, too.
insert into catalog_category_product (category_id, product_id) values (2, 1), (10, 1), (11, 2), (12, 2), (10, 4), (2, 5);
insert into cataloginventory_stock_item
    (product_id, stock_id, qty, notify_stock_qty, manage_stock, use_config_manage_stock)
values
    (1, 1, 5, 2, 0, 1), (2, 1, 0, null, 0, 1), (3, 1, 3, null, 0, 1), (4, 1, 0, null, 0, 1), (5, 1, 0, null, 0, 0);

insert into customer_entity (entity_id, email, created_at, is_active, firstname, lastname) values
    (7, 'ada@example.com', '2024-01-05 23:30:00', 1, 'Ada', 'Lovelace'),
    (8, 'bo@example.com', '2024-01-06 10:00:00', 0, 'Bo', null);

insert into sales_order
    (entity_id, state, status, customer_id, customer_is_guest, base_subtotal, base_discount_amount, base_tax_amount,
     base_shipping_amount, base_shipping_tax_amount, base_shipping_discount_amount, base_grand_total,
     base_total_canceled, base_currency_code, order_currency_code, grand_total, created_at)
values
    -- A coupon of 10 % over the order.
    (1, 'complete', 'complete', 7, 0, 40, -4, 7.77, 4.90, 0.93, 0, 48.67, null, 'EUR', 'EUR', 48.67,
     '2024-03-01 10:00:00'),
    -- A guest buys a bundle, and pays in dollars (1.10 for a euro); shipping is free by a rule: 6.00, less 6.00.
    (2, 'processing', 'in_production', null, 1, 30, -9, 5.13, 6, 0, 6, 32.13, null, 'EUR', 'USD', 35.34,
     '2024-03-01 23:30:00'),
    (3, 'canceled', 'canceled', 8, 0, 10, 0, 1.90, 0, 0, 0, 11.90, 11.90, 'EUR', 'EUR', 11.90, '2024-03-01 12:00:00'),
    -- The customer is on the page of the payment provider.
    (4, 'pending_payment', 'pending_paypal', 8, 0, 10, 0, 1.90, 0, 0, 0, 11.90, null, 'EUR', 'EUR', 11.90,
     '2024-03-01 13:00:00'),
    -- Prices with tax: 4 x 11.90 less 10 % = 42.84. One of the four was cancelled before its invoice.
    (5, 'complete', 'complete', 8, 0, 40, -4.76, 6.84, 0, 0, 0, 42.84, 10.71, 'EUR', 'EUR', 42.84,
     '2024-03-02 08:00:00'),
    (6, 'closed', 'closed', 7, 0, 10, 0, 1.90, 0, 0, 0, 11.90, null, 'EUR', 'EUR', 11.90, '2024-03-02 09:00:00');
insert into sales_order_item
    (item_id, order_id, parent_item_id, product_id, product_type, sku, qty_ordered, qty_canceled, base_row_total,
     base_discount_amount, base_discount_tax_compensation_amount, base_tax_amount)
values
    (11, 1, null, 1, 'simple', 'ball', 2, 0, 20, 2, 0, 3.42),
    -- A configurable product, and the variant below it, without money of its own.
    (12, 1, null, 2, 'configurable', 'shirt-red', 1, 0, 20, 2, 0, 3.42),
    (13, 1, 12, 3, 'simple', 'shirt-red', 1, 0, 0, 0, 0, 0),
    -- A bundle whose price is that of its parts: money at both, the discount at the parts.
    (21, 2, null, 4, 'bundle', 'set-ball-shirt', 1, 0, 30, 0, null, 5.13),
    (22, 2, 21, 1, 'simple', 'ball', 1, 0, 10, 1, 0, 1.71),
    (23, 2, 21, 3, 'simple', 'shirt-red', 1, 0, 20, 2, 0, 3.42),
    (31, 3, null, 1, 'simple', 'ball', 1, 1, 10, 0, 0, 1.90),
    (41, 4, null, 1, 'simple', 'ball', 1, 0, 10, 0, 0, 1.90),
    (51, 5, null, 1, 'simple', 'ball', 4, 1, 40, 4.76, 0.76, 6.84),
    -- A product that is not in the catalogue any more.
    (61, 6, null, 99, 'simple', 'kite', 1, 0, 10, 0, 0, 1.90);
insert into sales_order_payment (parent_id, base_amount_paid, method) values
    (1, 48.67, 'stripe_payments'), (2, 32.13, 'paypal_express'), (3, null, 'banktransfer'), (4, null, 'paypal_express'),
    (5, 32.13, 'stripe_payments'), (6, 11.90, 'stripe_payments');

insert into sales_creditmemo
    (entity_id, order_id, state, base_shipping_amount, base_adjustment_positive, base_adjustment_negative,
     base_grand_total, created_at, customer_note)
values
    -- A ball with its tax (10.71), the shipping with its tax (5.83), and 2.50 for the trouble.
    (1, 1, 2, 4.90, 2.50, 0, 19.04, '2024-03-03 09:00:00', 'damaged'),
    -- 11.90 less a fee of 3.00.
    (2, 6, 2, 0, 0, 3, 8.90, '2024-03-03 10:00:00', null),
    (3, 5, 3, 0, 0, 0, 10.71, '2024-03-03 11:00:00', null),
    (4, 2, 2, 0, 0, 0, 32.13, '2024-03-03 12:00:00', null);
insert into sales_creditmemo_item
    (parent_id, order_item_id, qty, base_row_total, base_discount_amount, base_discount_tax_compensation_amount,
     base_tax_amount)
values
    (1, 11, 1, 10, 1, 0, 1.71),
    (2, 61, 1, 10, 0, 0, 1.90),
    (3, 51, 1, 10, 1.19, 0.19, 1.71),
    (4, 21, 1, null, null, null, null), (4, 22, 1, 10, 1, 0, 1.71), (4, 23, 1, 20, 2, 0, 3.42);

-- A small shop in WooCommerce: its tables as WordPress 6 and WooCommerce 10 make them, without columns that no profile
-- could need. Prices are without tax, the tax is 19 %, the currency EUR.
create table wp_options (
    option_id bigint(20) unsigned not null auto_increment,
    option_name varchar(191) not null default '',
    option_value longtext not null,
    autoload varchar(20) not null default 'yes',
    primary key (option_id),
    unique key option_name (option_name)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_users (
    ID bigint(20) unsigned not null auto_increment,
    user_login varchar(60) not null default '',
    user_email varchar(100) not null default '',
    user_registered datetime not null default '0000-00-00 00:00:00',
    display_name varchar(250) not null default '',
    primary key (ID)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_usermeta (
    umeta_id bigint(20) unsigned not null auto_increment,
    user_id bigint(20) unsigned not null default 0,
    meta_key varchar(255) default null,
    meta_value longtext,
    primary key (umeta_id),
    key user_id (user_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_posts (
    ID bigint(20) unsigned not null auto_increment,
    post_date datetime not null default '0000-00-00 00:00:00',
    post_date_gmt datetime not null default '0000-00-00 00:00:00',
    post_title text not null,
    post_status varchar(20) not null default 'publish',
    post_modified_gmt datetime not null default '0000-00-00 00:00:00',
    post_parent bigint(20) unsigned not null default 0,
    post_type varchar(20) not null default 'post',
    primary key (ID),
    key type_status_date (post_type, post_status, post_date, ID),
    key post_parent (post_parent)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_postmeta (
    meta_id bigint(20) unsigned not null auto_increment,
    post_id bigint(20) unsigned not null default 0,
    meta_key varchar(255) default null,
    meta_value longtext,
    primary key (meta_id),
    key post_id (post_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_terms (
    term_id bigint(20) unsigned not null auto_increment,
    name varchar(200) not null default '',
    slug varchar(200) not null default '',
    primary key (term_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_term_taxonomy (
    term_taxonomy_id bigint(20) unsigned not null auto_increment,
    term_id bigint(20) unsigned not null default 0,
    taxonomy varchar(32) not null default '',
    parent bigint(20) unsigned not null default 0,
    primary key (term_taxonomy_id),
    unique key term_id_taxonomy (term_id, taxonomy)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_term_relationships (
    object_id bigint(20) unsigned not null default 0,
    term_taxonomy_id bigint(20) unsigned not null default 0,
    term_order int(11) not null default 0,
    primary key (object_id, term_taxonomy_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_wc_product_meta_lookup (
    product_id bigint(20) not null,
    sku varchar(100) default '',
    min_price decimal(19, 4) default null,
    max_price decimal(19, 4) default null,
    onsale tinyint(1) default 0,
    stock_quantity double default null,
    stock_status varchar(100) default 'instock',
    primary key (product_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_wc_orders (
    id bigint(20) unsigned not null,
    status varchar(20) default null,
    currency varchar(10) default null,
    type varchar(20) default null,
    tax_amount decimal(26, 8) default null,
    total_amount decimal(26, 8) default null,
    customer_id bigint(20) unsigned default null,
    billing_email varchar(320) default null,
    date_created_gmt datetime default null,
    date_updated_gmt datetime default null,
    parent_order_id bigint(20) unsigned default null,
    payment_method varchar(100) default null,
    payment_method_title text,
    transaction_id varchar(100) default null,
    customer_note text,
    primary key (id),
    key status (status),
    key date_created (date_created_gmt),
    key type_status_date (type, status, date_created_gmt),
    key parent_order_id (parent_order_id),
    key date_updated (date_updated_gmt)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_wc_orders_meta (
    id bigint(20) unsigned not null auto_increment,
    order_id bigint(20) unsigned default null,
    meta_key varchar(255) default null,
    meta_value text,
    primary key (id),
    key order_id_meta_key_meta_value (order_id, meta_key(100), meta_value(82))
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_wc_order_operational_data (
    id bigint(20) unsigned not null auto_increment,
    order_id bigint(20) unsigned default null,
    prices_include_tax tinyint(1) default null,
    date_paid_gmt datetime default null,
    date_completed_gmt datetime default null,
    shipping_tax_amount decimal(26, 8) default null,
    shipping_total_amount decimal(26, 8) default null,
    discount_tax_amount decimal(26, 8) default null,
    discount_total_amount decimal(26, 8) default null,
    primary key (id),
    unique key order_id (order_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_woocommerce_order_items (
    order_item_id bigint(20) unsigned not null auto_increment,
    order_item_name text not null,
    order_item_type varchar(200) not null default '',
    order_id bigint(20) unsigned not null,
    primary key (order_item_id),
    key order_id (order_id)
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

create table wp_woocommerce_order_itemmeta (
    meta_id bigint(20) unsigned not null auto_increment,
    order_item_id bigint(20) unsigned not null,
    meta_key varchar(255) default null,
    meta_value longtext,
    primary key (meta_id),
    key order_item_id (order_item_id),
    key meta_key (meta_key(32))
) default charset = utf8mb4 collate = utf8mb4_unicode_520_ci;

insert into wp_options (option_name, option_value) values
    ('woocommerce_currency', 'EUR'),
    ('woocommerce_notify_low_stock_amount', '2');

insert into wp_users (ID, user_login, user_email, user_registered, display_name) values
    (1, 'admin', 'admin@example.com', '2023-01-01 08:00:00', 'admin'),
    (5, 'ada', 'ada@example.com', '2024-01-05 23:30:00', 'ada'),
    (6, 'bo', 'bo@example.com', '2024-01-06 10:00:00', 'Bo');
insert into wp_usermeta (user_id, meta_key, meta_value) values
    (1, 'wp_capabilities', 'a:1:{s:13:"administrator";b:1;}'),
    (5, 'wp_capabilities', 'a:1:{s:8:"customer";b:1;}'),
    (5, 'first_name', 'Ada'),
    (5, 'last_name', 'Lovelace'),
    -- An author who has ordered is a customer, too.
    (6, 'wp_capabilities', 'a:1:{s:6:"author";b:1;}'),
    (6, 'first_name', ''),
    (6, 'last_name', '');

insert into wp_terms (term_id, name, slug) values
    (20, 'Sports', 'sports'), (21, 'Clothing', 'clothing'), (22, 'Shirts', 'shirts'), (30, 'variable', 'variable');
insert into wp_term_taxonomy (term_taxonomy_id, term_id, taxonomy, parent) values
    (120, 20, 'product_cat', 0), (121, 21, 'product_cat', 0), (122, 22, 'product_cat', 21), (130, 30, 'product_type', 0);
insert into wp_posts (ID, post_date_gmt, post_title, post_status, post_modified_gmt, post_parent, post_type) values
    (10, '2024-01-10 09:00:00', 'Ball', 'publish', '2024-02-01 12:00:00', 0, 'product'),
    -- A variable product, sold as one of its variations.
    (11, '2024-01-11 09:00:00', 'T-Shirt', 'publish', '2024-02-02 12:00:00', 0, 'product'),
    (12, '2024-01-11 09:00:00', 'T-Shirt - Red', 'publish', '2024-02-02 12:00:00', 11, 'product_variation'),
    (13, '2024-01-11 09:00:00', 'T-Shirt - Blue', 'private', '2024-02-03 12:00:00', 11, 'product_variation'),
    (14, '0000-00-00 00:00:00', 'Lamp', 'draft', '2024-02-04 12:00:00', 0, 'product'),
    (15, '2024-01-12 09:00:00', 'Kite', 'trash', '2024-02-05 12:00:00', 0, 'product'),
    (16, '2024-01-12 09:00:00', 'About us', 'publish', '2024-02-05 12:00:00', 0, 'page');
insert into wp_term_relationships (object_id, term_taxonomy_id) values
    (10, 120), (11, 121), (11, 122), (11, 130);
insert into wp_postmeta (post_id, meta_key, meta_value) values
    (10, '_regular_price', '10'), (10, '_low_stock_amount', '3'), (10, '_cogs_total_value', '4'),
    (11, '_cogs_total_value', '8'), (12, '_cogs_total_value', '1.5'), (12, '_cogs_value_is_additive', 'yes');
insert into wp_wc_product_meta_lookup (product_id, sku, min_price, max_price, stock_quantity) values
    (10, 'ball', 10, 10, 5), (11, 'shirt', 20, 22, null), (12, 'shirt-red', 20, 20, 1), (13, 'shirt-blue', 22, 22, null);

insert into wp_wc_orders
    (id, status, currency, type, tax_amount, total_amount, customer_id, date_created_gmt, parent_order_id, payment_method)
values
    -- Two products with a coupon over the order (10 %), a fee and shipping: 38.00 + 4.90, and 8.15 tax.
    (100, 'wc-processing', 'EUR', 'shop_order', 7.22, 51.05, 5, '2024-03-01 10:00:00', 0, 'stripe'),
    -- A guest, who pays by bank transfer.
    (101, 'wc-on-hold', 'EUR', 'shop_order', 3.80, 23.80, 0, '2024-03-01 23:30:00', 0, 'bacs'),
    (102, 'wc-cancelled', 'EUR', 'shop_order', 1.90, 11.90, 6, '2024-03-01 12:00:00', 0, 'stripe'),
    (103, 'wc-failed', 'EUR', 'shop_order', 1.90, 11.90, 6, '2024-03-01 12:05:00', 0, 'stripe'),
    -- No orders yet, or no more.
    (104, 'wc-pending', 'EUR', 'shop_order', 1.90, 11.90, 6, '2024-03-01 13:00:00', 0, 'stripe'),
    (105, 'wc-checkout-draft', 'EUR', 'shop_order', 1.90, 11.90, 0, '2024-03-01 13:00:00', 0, ''),
    (106, 'trash', 'EUR', 'shop_order', 1.90, 11.90, 6, '2024-03-01 14:00:00', 0, 'stripe'),
    (108, 'auto-draft', 'EUR', 'shop_order', 0, 0, 0, '2024-03-01 15:00:00', 0, ''),
    -- A product that was deleted since.
    (107, 'wc-completed', 'EUR', 'shop_order', 1.33, 8.33, 6, '2024-03-02 08:00:00', 0, 'paypal'),
    -- Set to "Refunded" by hand: WooCommerce then makes a refund of the whole amount, without items.
    (109, 'wc-refunded', 'EUR', 'shop_order', 1.90, 11.90, 5, '2024-03-02 09:00:00', 0, 'stripe'),
    -- A ball of order 100, and its shipping.
    (200, 'wc-completed', 'EUR', 'shop_order_refund', -1.71, -16.54, 0, '2024-03-03 09:00:00', 100, null),
    (201, 'wc-completed', 'EUR', 'shop_order_refund', 0, -11.90, 0, '2024-03-03 10:00:00', 109, null),
    -- An amount without items, and one of an order that is not counted.
    (203, 'wc-completed', 'EUR', 'shop_order_refund', 0, -2.38, 0, '2024-03-03 11:00:00', 101, null),
    (204, 'wc-completed', 'EUR', 'shop_order_refund', 0, -11.90, 0, '2024-03-03 12:00:00', 102, null);
insert into wp_wc_order_operational_data
    (order_id, prices_include_tax, shipping_tax_amount, shipping_total_amount, discount_tax_amount, discount_total_amount)
values
    (100, 0, 0.93, 4.90, 0.76, 4), (101, 0, 0, 0, 0, 0), (102, 0, 0, 0, 0, 0), (103, 0, 0, 0, 0, 0), (104, 0, 0, 0, 0, 0),
    (105, 0, 0, 0, 0, 0), (106, 0, 0, 0, 0, 0), (107, 0, 0, 0, 0, 0), (109, 0, 0, 0, 0, 0),
    (200, 0, -0.93, -4.90, 0, 0), (201, 0, 0, 0, 0, 0), (203, 0, 0, 0, 0, 0), (204, 0, 0, 0, 0, 0);
insert into wp_wc_orders_meta (order_id, meta_key, meta_value) values
    (200, '_refund_amount', '16.54'), (200, '_refund_reason', 'damaged'),
    (201, '_refund_amount', '11.90'), (201, '_refund_reason', 'Order fully refunded.'),
    (203, '_refund_amount', '2.38'), (204, '_refund_amount', '11.90');

insert into wp_woocommerce_order_items (order_item_id, order_item_name, order_item_type, order_id) values
    (1, 'Ball', 'line_item', 100), (2, 'T-Shirt - Red', 'line_item', 100), (3, 'Gift wrap', 'fee', 100),
    (4, 'Flat rate', 'shipping', 100), (5, 'SPRING', 'coupon', 100), (6, 'VAT', 'tax', 100),
    (7, 'T-Shirt - Blue', 'line_item', 101),
    (8, 'Ball', 'line_item', 102), (9, 'Ball', 'line_item', 103), (10, 'Ball', 'line_item', 104),
    (11, 'Ball', 'line_item', 105), (12, 'Ball', 'line_item', 106), (13, 'Kite', 'line_item', 107),
    (14, 'Ball', 'line_item', 109),
    (15, 'Ball', 'line_item', 200), (16, 'Flat rate', 'shipping', 200),
    -- WooCommerce also adds items of which nothing went back.
    (17, 'T-Shirt - Red', 'line_item', 200);
insert into wp_woocommerce_order_itemmeta (order_item_id, meta_key, meta_value) values
    (1, '_product_id', '10'), (1, '_variation_id', '0'), (1, '_qty', '2'), (1, '_line_subtotal', '20'),
    (1, '_line_subtotal_tax', '3.8'), (1, '_line_total', '18'), (1, '_line_tax', '3.42'),
    (2, '_product_id', '11'), (2, '_variation_id', '12'), (2, '_qty', '1'), (2, '_line_subtotal', '20'),
    (2, '_line_subtotal_tax', '3.8'), (2, '_line_total', '18'), (2, '_line_tax', '3.42'), (2, 'pa_colour', 'red'),
    (3, '_line_total', '2'), (3, '_line_tax', '0.38'), (3, '_tax_class', ''),
    (4, 'cost', '4.90'), (4, 'total_tax', '0.93'),
    (5, 'discount_amount', '4'), (6, 'tax_amount', '7.22'), (6, 'shipping_tax_amount', '0.93'),
    (7, '_product_id', '11'), (7, '_variation_id', '13'), (7, '_qty', '1'), (7, '_line_subtotal', '20'),
    (7, '_line_total', '20'), (7, '_line_tax', '3.8'),
    (8, '_product_id', '10'), (8, '_variation_id', '0'), (8, '_qty', '1'), (8, '_line_subtotal', '10'),
    (8, '_line_total', '10'), (8, '_line_tax', '1.9'),
    (9, '_product_id', '10'), (9, '_variation_id', '0'), (9, '_qty', '1'), (9, '_line_subtotal', '10'),
    (9, '_line_total', '10'), (9, '_line_tax', '1.9'),
    (10, '_product_id', '10'), (10, '_qty', '1'), (10, '_line_subtotal', '10'), (10, '_line_total', '10'),
    (11, '_product_id', '10'), (11, '_qty', '1'), (11, '_line_subtotal', '10'), (11, '_line_total', '10'),
    (12, '_product_id', '10'), (12, '_qty', '1'), (12, '_line_subtotal', '10'), (12, '_line_total', '10'),
    (13, '_product_id', '0'), (13, '_variation_id', '0'), (13, '_qty', '1'), (13, '_line_subtotal', '7'),
    (13, '_line_total', '7'), (13, '_line_tax', '1.33'),
    (14, '_product_id', '10'), (14, '_variation_id', '0'), (14, '_qty', '1'), (14, '_line_subtotal', '10'),
    (14, '_line_total', '10'), (14, '_line_tax', '1.9'),
    (15, '_product_id', '10'), (15, '_variation_id', '0'), (15, '_qty', '-1'), (15, '_line_subtotal', '-9'),
    (15, '_line_total', '-9'), (15, '_line_tax', '-1.71'), (15, '_refunded_item_id', '1'),
    (16, 'cost', '-4.90'), (16, 'total_tax', '-0.93'), (16, '_refunded_item_id', '4'),
    (17, '_product_id', '11'), (17, '_variation_id', '12'), (17, '_qty', '0'), (17, '_line_subtotal', '0'),
    (17, '_line_total', '0'), (17, '_line_tax', '0'), (17, '_refunded_item_id', '2');

-- The source database of the demo shop: typed, but as lenient as real sources are. Nearly everything may be null and
-- no key is enforced, so that the wrong rows a warehouse must cope with can exist.
create table if not exists product (
    product_id text,
    product_name text,
    product_category_id text
);

create table if not exists product_category (
    product_id text,
    category_id text,
    category_name text,
    subcategory text,
    brand text,
    supplier_id text,
    cost_price numeric,
    retail_price numeric,
    margin_percent numeric,
    stock_level integer,
    reorder_point integer,
    discontinued boolean,
    launch_date date,
    last_updated date
);

create table if not exists sales_fact (
    order_id text,
    line_number integer,
    product_id text,
    customer_id text,
    order_date date,
    order_amount numeric,
    order_quantity integer,
    payment_method text,
    discount_applied numeric,
    shipping_cost numeric,
    tax_amount numeric,
    order_status text,
    created_at timestamp not null
);
create index if not exists sales_fact_created_at on sales_fact (created_at);

create table if not exists refund (
    refund_id text,
    order_id text,
    line_number integer,
    product_id text,
    customer_id text,
    refund_date date,
    refund_amount numeric,
    refund_quantity integer,
    reason text,
    created_at timestamp not null
);
create index if not exists refund_created_at on refund (created_at);

create table if not exists customer (
    customer_id text,
    customer_name text,
    customer_email text,
    start_date date,
    end_date date,
    status text
);

create table if not exists subscription_data (
    customer_id integer,
    subscription_id text,
    plan_type text,
    subscription_start_date date,
    subscription_end_date date,
    monthly_fee numeric,
    status text
);

-- The last twelve complete months, or fewer where fewer are complete.
with months as (

    select period_start
    from shop.period
    where grain = 'month' and is_complete
    order by period_start desc
    limit 12

),

bought as (

    select distinct
        customer_id,
        product_id,
        order_date
    from shop.counted_line
    where customer_id is not null and order_month in (select period_start from months)

),

popular as (

    select
        product_id,
        count(distinct customer_id) as customers
    from bought
    group by product_id
    order by customers desc, product_id
    limit 200

),

-- Before the join: a large shop's customers bought a hundred million pairs of other products.
bought_popular as (

    select bought.*
    from bought
    inner join popular on bought.product_id = popular.product_id

),

together as (

    select
        bought.product_id,
        other.product_id as other_product_id,
        count(distinct bought.customer_id) as customers,
        count(distinct bought.customer_id) filter (where other.order_date > bought.order_date)
            as customers_next
    from bought_popular as bought
    inner join bought_popular as other
        on
            bought.customer_id = other.customer_id
            and bought.product_id <> other.product_id
            and abs(bought.order_date - other.order_date) <= 90
    group by bought.product_id, other.product_id
    having count(distinct bought.customer_id) >= 10

),

measured as (

    select
        together.*,
        popular.customers as product_customers,
        other.customers as other_customers,
        (select count(distinct customer_id) from bought) as all_customers
    from together
    inner join popular on together.product_id = popular.product_id
    inner join popular as other on together.other_product_id = other.product_id

)

select
    product_id,
    other_product_id,
    customers,
    customers_next,
    percent(customers, all_customers) as support_percent,
    percent(customers, product_customers) as confidence_percent,
    percent(customers_next, product_customers) as next_percent,
    ratio(customers * all_customers, product_customers * other_customers) as lift,
    (select max(period_start) from months) as counted_month
from measured
qualify
    row_number() over (
        partition by product_id
        order by customers::double / other_customers desc, customers desc, other_product_id
    ) <= 50

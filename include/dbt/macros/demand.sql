{# The query for what a product sold a day when it could be bought: over the days from `first_day` to
   `last_day` of a row of `asked`, without those at whose end it was known to be out of stock. One row per
   product and date_key of `asked`.

   What was sold on a day without stock is left out with the day: of such a day we do not know for how long
   the product could be bought. #}
{% macro demand_of(asked) -%}
with out_of_stock as (

        select * from {{ ref('int_stock_spells') }}
        where is_stocked_out

    ),

    sold_days as (

        select
            lines.product_id,
            lines.date_key,
            sum(lines.order_quantity) as units
        from {{ ref('fact_sales') }} as lines
        where
            {{ is_counted('lines') }}
            and lines.date_key between
            (select min({{ asked }}.first_day) from {{ asked }})
            and (select max({{ asked }}.last_day) from {{ asked }})
            and not exists (
                select from out_of_stock
                where
                    out_of_stock.product_id = lines.product_id
                    and out_of_stock.from_day <= lines.date_key
                    and out_of_stock.to_day > lines.date_key
            )
        group by lines.product_id, lines.date_key

    ),

    sold as (

        select
            {{ asked }}.product_id,
            {{ asked }}.date_key,
            sum(sold_days.units) as units,
            sum(sold_days.units * sold_days.units) as squared_units
        from {{ asked }}
        inner join sold_days
            on
                {{ asked }}.product_id = sold_days.product_id
                and {{ asked }}.first_day <= sold_days.date_key
                and {{ asked }}.last_day >= sold_days.date_key
        group by {{ asked }}.product_id, {{ asked }}.date_key

    ),

    without_stock as (

        select
            {{ asked }}.product_id,
            {{ asked }}.date_key,
            sum(
                least(out_of_stock.to_day, {{ asked }}.last_day + 1)
                - greatest(out_of_stock.from_day, {{ asked }}.first_day)
            ) as days
        from {{ asked }}
        inner join out_of_stock
            on
                {{ asked }}.product_id = out_of_stock.product_id
                and {{ asked }}.last_day >= out_of_stock.from_day
                and {{ asked }}.first_day < out_of_stock.to_day
                and {{ asked }}.first_day <= {{ asked }}.last_day
        group by {{ asked }}.product_id, {{ asked }}.date_key

    ),

    counted as (

        select
            {{ asked }}.product_id,
            {{ asked }}.date_key,
            coalesce(sold.units, 0) as units,
            coalesce(sold.squared_units, 0) as squared_units,
            coalesce(without_stock.days, 0)::integer as days_stocked_out,
            greatest({{ asked }}.last_day - {{ asked }}.first_day + 1, 0)
            - coalesce(without_stock.days, 0)::integer as days_on_sale
        from {{ asked }}
        left join sold
            on
                {{ asked }}.product_id = sold.product_id
                and {{ asked }}.date_key = sold.date_key
        left join without_stock
            on
                {{ asked }}.product_id = without_stock.product_id
                and {{ asked }}.date_key = without_stock.date_key

    )

    select
        product_id,
        date_key,
        days_stocked_out,
        days_on_sale,
        units / nullif(days_on_sale, 0)::numeric as daily_demand,
        sqrt(
            greatest(squared_units - units * units / nullif(days_on_sale, 0)::numeric, 0)
            / nullif(days_on_sale - 1, 0)
        ) as daily_deviation
    from counted
{%- endmacro %}

-- Exact arithmetic. DuckDB's `/` of decimals returns a DOUBLE, so whole numbers are divided here, and
-- rounded half away from zero as Postgres rounds `numeric`. A zero denominator gives null.
-- Arguments of `ratio` and `percent` are whole numbers or decimals of at most two places.

create macro in_cents(amount) as (amount * 100)::hugeint;

-- In units of 1/steps, since round(n/d) = floor(n/d + 1/2) = (2n + d) // 2d for n, d > 0.
create macro rounded_quotient(numerator, denominator, steps) as
    sign(numerator) * sign(denominator)
    * ((2 * abs(numerator) * steps + abs(denominator)) // (2 * nullif(abs(denominator), 0)));

-- Two places.
create macro ratio(numerator, denominator) as
    rounded_quotient(in_cents(numerator), in_cents(denominator), 100)::decimal(38, 0) * 0.01;

-- One place.
create macro ratio_1(numerator, denominator) as
    rounded_quotient(in_cents(numerator), in_cents(denominator), 10)::decimal(38, 0) * 0.1;

create macro percent(part, whole) as ratio(100 * part, whole);

-- An amount before a discount, to the cent; null where all is discount. A rate has at most twelve places.
create macro before_discount(amount, rate) as
    rounded_quotient(
        in_cents(amount) * 1000000000000::hugeint, ((1 - rate) * 1000000000000)::hugeint, 1
    )::decimal(38, 0) * 0.01;

-- A decimal of any scale to two places: DuckDB's cast between decimals rounds half away from zero.
create macro to_cents(amount) as amount::decimal(38, 2);

-- The sum of the amounts that are known: 0 where there is no row to know an amount of, and null where
-- no row's amount is known.
create macro known_sum(amount, row_id) as
    case when count(row_id) = 0 then 0 else sum(amount) end;

-- What a line would have cost without its discount, a fraction of at most twelve places; null for a discount of 1.
create macro list_price(amount, discount_rate) as
    rounded_quotient(
        in_cents(amount), ((1 - discount_rate) * 1000000000000)::hugeint, 1000000000000
    )::decimal(38, 0) * 0.01;

-- amount × part / whole, to six places; amounts and parts are whole numbers or decimals of at most two places.
create macro share_of(amount, part, whole) as
    rounded_quotient(in_cents(amount) * in_cents(part), in_cents(whole), 10000)::decimal(38, 0) * 0.000001;

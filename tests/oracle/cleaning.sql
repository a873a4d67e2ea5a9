-- Convert the text of a source to a value: null if it is blank, and also if it is no value of the
-- type; `is_invalid` is true for the second case only.

-- White space is whatever Unicode calls so, and what takes no room: zero-width characters, marks of
-- direction, soft hyphen, byte order mark.
create macro blank() as
    '[\x{9}-\x{D}\x{85}\p{Z}\x{AD}\x{61C}\x{180E}\x{200B}-\x{200F}'
    || '\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{206F}\x{FEFF}]';

create macro clean(source_text) as
    nullif(
        regexp_replace(source_text, '\A' || blank() || '+|' || blank() || '+\z', '', 'g'), ''
    );

-- In the range of numeric(18, 2), with all digits of the source; null for NaN and infinity.
create macro to_number(source_text) as
    case
        when abs(try_cast(clean(source_text) as decimal(38, 12))) < 10000000000000000
            then try_cast(clean(source_text) as decimal(38, 12))
    end;

create macro to_whole(source_text) as
    case
        when regexp_full_match(clean(source_text), '[+-]?\d+')
            then try_cast(clean(source_text) as integer)
    end;

-- The customer of a subscription: digits alone are a number, so 1 is CUST001 and 1000 is CUST1000; a
-- negative number is nobody's, and any other text is an id.
create macro to_subscriber(source_text) as
    case
        when regexp_full_match(clean(source_text), '\d+')
            then 'CUST' || repeat('0', 3 - length(ltrim(clean(source_text), '0')))
                || ltrim(clean(source_text), '0')
        when not regexp_full_match(clean(source_text), '-\d+') then clean(source_text)
    end;

-- A day of the calendar.
create macro to_date(source_text) as
    case
        when try_cast(clean(source_text) as date) between date '1970-01-01' and date '2069-12-31'
            then try_cast(clean(source_text) as date)
    end;

create macro to_boolean(source_text) as try_cast(clean(source_text) as boolean);

create macro shop_day(instant) as (instant at time zone getvariable('time_zone'))::date;

-- Of a fraction of a second six digits count; what follows is cut, never rounded.
create macro cut_to_microseconds(source_text) as
    regexp_replace(source_text, '([.,]\d{6})\d+', '\1');

-- When a row was recorded, on a day of the calendar; without an offset it is a time of the source's
-- time zone.
create macro to_recorded_at(source_text) as
    case
        when to_date(left(clean(source_text), 10)) is null then null
        when regexp_matches(clean(source_text), ':.*(Z|[+-]\d\d(:?\d\d)?)$')
            then try_cast(cut_to_microseconds(clean(source_text)) as timestamptz)
        else
            try_cast(cut_to_microseconds(clean(source_text)) as timestamp) at time zone getvariable('source_time_zone')
    end;

create macro to_instant(source_text) as
    case
        when regexp_full_match(
            clean(source_text),
            '\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:[0-5]\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?'
        ) then try_cast(replace(cut_to_microseconds(clean(source_text)), ',', '.') as timestamptz)
    end;

-- What the cut takes away, without zeros at the end; null if it takes nothing.
create macro below_microsecond(source_text) as
    nullif(rtrim(regexp_extract(source_text, '[.,]\d{6}(\d+)', 1), '0'), '');

-- ISO 8601, on a day of the shop's calendar; without an offset it is UTC (the session's time zone),
-- whatever the time zone of other sources is.
create macro to_event_at(source_text) as
    case
        when shop_day(to_instant(source_text)) between date '1970-01-01' and date '2069-12-31'
            then to_instant(source_text)
    end;

create macro is_invalid(source_text, typed_value) as
    clean(source_text) is not null and typed_value is null;

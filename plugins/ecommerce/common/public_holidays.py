"""
The public holidays of a country, from the package `holidays`, and `ops.holiday`, where the models find them.

`ensure_schema` writes the table when the country of the shop's profile has changed, or the version of the package.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import psycopg

from ecommerce.common.sources import CALENDAR

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA CC CD
CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE
GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC
VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
#: The countries of which the package knows a holiday, by their ISO 3166 codes. Not asked of the package: its import
#: takes half a second, and Airflow reads the profile whenever it reads a DAG file.
COUNTRIES = frozenset(_CODES.split())


@lru_cache(maxsize=4)
def public_holidays(country: str) -> tuple[tuple[date, str], ...]:
    """
    The holidays of the whole country on each day of the calendar, with their names.

    Names are in English where the package has them, otherwise in the country's own language; those of one day are
    joined by `; `.

    :param country: its ISO code
    """
    import holidays

    first, last = map(date.fromisoformat, CALENDAR)
    found = holidays.country_holidays(country, years=range(first.year, last.year + 1), language="en_US")
    return tuple(sorted((day, name) for day, name in found.items() if first <= day <= last))


def write_holidays(connection: psycopg.Connection, country: str | None) -> None:
    """Let `ops.holiday` have the holidays of this country, in the caller's transaction; None: it is empty."""
    connection.execute("delete from ops.holiday")
    if country is None:
        return
    with connection.cursor().copy("copy ops.holiday (holiday_date, holiday_name) from stdin") as rows:
        for row in public_holidays(country):
            rows.write_row(row)

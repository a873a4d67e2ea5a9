"""Generate the daily weather of two cities: seasonal, with warm and cold spells that both cities share."""

from datetime import date
from random import Random

from include.demo.shop.generator.effects import WET_DAY_PRECIPITATION
from include.demo.shop.generator.random_draws import Calendar, bell, between_months
from include.demo.shop.generator.table_states import Row

# Mean temperature at mid-month, °C, near the long-term means of the two cities.
MONTHLY_TEMPERATURE = {
    "Berlin": (0.9, 1.9, 5.2, 9.9, 14.6, 18.0, 19.9, 19.4, 15.1, 10.1, 5.2, 2.0),
    "Hamburg": (1.9, 2.2, 4.9, 8.9, 12.9, 15.9, 18.1, 17.8, 14.3, 10.0, 5.7, 2.9),
}
RAINY_SHARE = {"Berlin": 0.42, "Hamburg": 0.52}


def daily_weather(rng: Random, calendar: Calendar) -> list[Row]:
    """Generate one row per city and day; temperature in °C and precipitation in mm, with one decimal."""
    result: list[Row] = []
    spell = 0.0
    for day in calendar.days:
        spell = 0.75 * spell + 2.4 * bell(rng)
        wet = rng.random()
        for city, monthly in MONTHLY_TEMPERATURE.items():
            temperature = between_months(day, monthly) + spell + 0.8 * bell(rng)
            rains = 0.8 * wet + 0.2 * rng.random() < RAINY_SHARE[city]
            heavy = rng.random()
            precipitation = 0.1 + 16 * heavy * heavy * heavy if rains else 0.0
            result.append(
                {
                    "date": day,
                    "temperature": round(temperature, 1) + 0.0,  # turns -0.0 into 0.0
                    "precipitation": round(precipitation, 1),
                    "city": city,
                }
            )
    return result


def wet_days(rows: list[Row]) -> set[date]:
    """Find the wet days, on which people stay at home and shop: much rain in one of the cities."""
    return {row["date"] for row in rows if row["precipitation"] >= WET_DAY_PRECIPITATION}

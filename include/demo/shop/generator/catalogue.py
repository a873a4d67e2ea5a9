"""Generate the products: names, categories, prices before and after one change, and when they are on sale."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from include.demo.shop.generator.random_draws import Calendar, Weighted, assign_changes, long_tail, money
from include.demo.shop.generator.table_states import Row, States

# Seasons: the category's demand per month, January first. Subcategory -> (lowest price, highest price, nouns).
CATEGORIES: dict[str, dict[str, Any]] = {
    "Electronics": {
        "seasons": (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0, 1.1, 1.7, 1.8),
        "brands": ("Nordlys", "Voltera", "Kanto", "Optimo"),
        "subcategories": {
            "Audio": (25, 180, ("Headphones", "Speaker", "Earbuds", "Turntable")),
            "Computers": (40, 320, ("Keyboard", "Monitor", "Tablet", "Docking Station")),
            "Accessories": (8, 45, ("Charger", "Cable Set", "Phone Case", "Power Bank")),
        },
    },
    "Fashion": {
        "seasons": (0.8, 0.9, 1.2, 1.3, 1.2, 1.0, 0.8, 0.9, 1.3, 1.2, 1.1, 1.2),
        "brands": ("Marlow", "Fjella", "Casa Rosa", "Lindt & Faden"),
        "subcategories": {
            "Shoes": (35, 120, ("Sneakers", "Boots", "Sandals", "Loafers")),
            "Clothing": (15, 90, ("Jacket", "T-Shirt", "Jeans", "Dress", "Sweater")),
            "Bags": (20, 95, ("Backpack", "Tote Bag", "Weekender")),
        },
    },
    "Home & Garden": {
        "seasons": (0.8, 0.9, 1.2, 1.5, 1.6, 1.3, 1.0, 0.9, 0.9, 0.9, 0.9, 1.0),
        "brands": ("Heimat", "Grünwerk", "Oakley Home", "Casa Verde"),
        "subcategories": {
            "Kitchen": (9, 110, ("Knife Set", "Kettle", "Pan", "Mug Set")),
            "Garden": (7, 85, ("Pruner", "Planter", "Garden Hose", "Lantern")),
            "Bedding": (18, 100, ("Duvet", "Pillow", "Linen Set")),
        },
    },
    "Sports & Outdoors": {
        "seasons": (1.3, 1.0, 1.0, 1.1, 1.4, 1.5, 1.5, 1.3, 1.0, 0.8, 0.8, 0.9),
        "brands": ("Peakline", "Arvo", "Sprinta", "Wildpfad"),
        "subcategories": {
            "Fitness": (10, 130, ("Yoga Mat", "Dumbbells", "Kettlebell", "Resistance Bands")),
            "Camping": (15, 220, ("Tent", "Sleeping Bag", "Stove", "Headlamp")),
            "Cycling": (12, 140, ("Helmet", "Bike Lock", "Pump", "Panniers")),
        },
    },
    "Toys & Games": {
        "seasons": (0.7, 0.7, 0.8, 1.0, 0.8, 0.8, 0.8, 0.8, 0.8, 1.0, 1.8, 2.4),
        "brands": ("Murmel", "Bluebox", "Klotz & Co"),
        "subcategories": {
            "Board Games": (14, 60, ("Strategy Game", "Card Game", "Party Game")),
            "Building": (12, 130, ("Brick Set", "Marble Run", "Model Train")),
            "Plush": (8, 35, ("Teddy Bear", "Rabbit", "Dragon")),
        },
    },
    "Beauty": {
        "seasons": (0.9, 1.2, 1.0, 1.0, 1.3, 1.0, 0.9, 0.9, 1.0, 1.0, 1.2, 1.5),
        "brands": ("Aurelia", "Botanica", "Seeluft"),
        "subcategories": {
            "Skin Care": (8, 70, ("Day Cream", "Serum", "Sun Lotion")),
            "Fragrance": (20, 110, ("Eau de Parfum", "Cologne")),
            "Hair": (6, 40, ("Shampoo", "Hair Oil", "Brush")),
        },
    },
}
ADJECTIVES = ("Classic", "Compact", "Urban", "Alpine", "Pure", "Smart", "Light", "Royal", "Daily", "Nova")
#: Change → the share of products that it happens to.
CHANGES = {
    "repriced": 0.20,
    "restocked": 0.25,
    "launched": 0.05,
    "retired": 0.02,
    "retired_before": 0.03,
    "renamed": 0.01,
    "vanished": 0.004,
}


@dataclass(frozen=True)
class Product:
    """A product and when it is on sale; it costs ``price`` before the day ``repriced_on``, then ``new_price``."""

    product_id: str
    popularity: float
    seasons: tuple[float, ...]
    price: Decimal
    new_price: Decimal
    repriced_on: date | None
    launched_on: date
    gone_on: date | None

    def price_on(self, day: date) -> Decimal:
        """The retail price on a day."""
        return self.new_price if self.repriced_on and day >= self.repriced_on else self.price

    def is_sold_on(self, day: date) -> bool:
        """Whether the product is on sale on a day."""
        return self.launched_on <= day and (self.gone_on is None or day < self.gone_on)


def product_id(number: int) -> str:
    """Format a product's number as the shop writes it: with at least three digits."""
    return f"PROD{number:03d}"


def shelf(products: list[Product], day: date) -> Weighted[Product]:
    """Collect the products that are on sale on a day, weighted by their demand on that day."""
    sold = [product for product in products if product.is_sold_on(day)]
    return Weighted(sold, [product.popularity * product.seasons[day.month - 1] for product in sold])


def catalogue(rng: Random, count: int, calendar: Calendar) -> tuple[list[Product], States, States]:
    """
    Generate the products.

    :return: the products, and the two states of the tables ``product`` and ``product_category``
    """
    products: list[Product] = []
    names, details = States(), States()
    popularity = long_tail(rng, count)
    category_names = list(CATEGORIES)
    for number, change in enumerate(assign_changes(rng, count, CHANGES)):
        category_name = category_names[number % len(category_names)]
        key = product_id(number + 1)
        name, detail = _describe(rng, key, category_name, calendar.first)
        changed_on = calendar.some_day(rng, margin=min(5, calendar.length // 3))
        draft = _Draft(name, detail, dict(name), dict(detail), changed_on)
        if apply := _APPLY.get(change):
            apply(rng, draft)
        if change != "launched":
            names.opening[key], details.opening[key] = draft.name, draft.detail
        if change != "vanished":
            names.final[key], details.final[key] = draft.new_name, draft.new_detail
        products.append(
            Product(
                product_id=key,
                popularity=popularity[number],
                seasons=CATEGORIES[category_name]["seasons"],
                price=detail["retail_price"],
                new_price=draft.new_detail["retail_price"],
                repriced_on=changed_on if change == "repriced" else None,
                launched_on=draft.new_detail["launch_date"],
                gone_on=draft.gone_on,
            )
        )
    return products, names, details


@dataclass
class _Draft:
    """A product's rows of ``product`` (name) and ``product_category`` (detail), before and after its change."""

    name: Row
    detail: Row
    new_name: Row
    new_detail: Row
    changed_on: date
    gone_on: date | None = None


def _reprice(rng: Random, draft: _Draft) -> None:
    factor = Decimal(rng.choice((82, 88, 92, 95, 105, 108, 112, 118))) / 100
    draft.new_detail |= _priced(_tidy(draft.detail["retail_price"] * factor), draft.detail["cost_price"])
    draft.new_detail |= {"stock_level": rng.randint(0, 400), "last_updated": draft.changed_on}


def _restock(rng: Random, draft: _Draft) -> None:
    draft.new_detail |= {"stock_level": draft.detail["stock_level"] + rng.randint(5, 200)}
    draft.new_detail |= {"last_updated": draft.changed_on}


def _launch(rng: Random, draft: _Draft) -> None:
    draft.new_detail |= {"launch_date": draft.changed_on, "last_updated": draft.changed_on}


def _retire(rng: Random, draft: _Draft) -> None:
    draft.gone_on = draft.changed_on
    draft.new_detail |= {"discontinued": True, "stock_level": 0, "last_updated": draft.changed_on}


def _retire_before(rng: Random, draft: _Draft) -> None:
    draft.gone_on = draft.detail["last_updated"]
    draft.detail |= {"discontinued": True, "stock_level": 0}
    draft.new_detail |= draft.detail


def _rename(rng: Random, draft: _Draft) -> None:
    draft.new_name["product_name"] = f"{draft.name['product_name']} II"


def _vanish(rng: Random, draft: _Draft) -> None:
    draft.gone_on = draft.changed_on


_APPLY: dict[str, Callable[[Random, _Draft], None]] = {
    "repriced": _reprice,
    "restocked": _restock,
    "launched": _launch,
    "retired": _retire,
    "retired_before": _retire_before,
    "renamed": _rename,
    "vanished": _vanish,
}


def _describe(rng: Random, key: str, category_name: str, first: date) -> tuple[Row, Row]:
    """Generate the rows of ``product`` and ``product_category`` for a product that is on sale before the first day."""
    category = CATEGORIES[category_name]
    category_id = f"CAT{list(CATEGORIES).index(category_name) + 1:02d}"
    subcategory = rng.choice(list(category["subcategories"]))
    lowest, highest, nouns = category["subcategories"][subcategory]
    brand = rng.choice(category["brands"])
    position = rng.random()  # squared below: most products are near the lower end of the range
    price = _tidy(Decimal(int(100 * (lowest + (highest - lowest) * position * position))) / 100)
    launched = first - timedelta(days=rng.randint(60, 1500))
    name = {
        "product_id": key,
        "product_name": f"{brand} {rng.choice(ADJECTIVES)} {rng.choice(nouns)}",
        "product_category_id": category_id,
    }
    detail = {
        "product_id": key,
        "category_id": category_id,
        "category_name": category_name,
        "subcategory": subcategory,
        "brand": brand,
        "supplier_id": f"SUP{rng.randint(1, 24):03d}",
        **_priced(price, money(price * rng.randint(45, 72) / 100)),
        "stock_level": rng.choice((0, *range(5, 300, 7))),
        "reorder_point": rng.randint(5, 40),
        "discontinued": False,
        "launch_date": launched,
        "last_updated": first - timedelta(days=rng.randint(1, 59)),
    }
    return name, detail


def _tidy(price: Decimal) -> Decimal:
    """Round a price as shops do: 12.99."""
    return max(Decimal(int(price)), Decimal(3)) - Decimal("0.01")


def _priced(price: Decimal, cost: Decimal) -> Row:
    return {
        "cost_price": cost,
        "retail_price": price,
        "margin_percent": money((price - cost) / price * 100),
    }

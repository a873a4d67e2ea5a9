"""Products: what they are, what they cost before and after their one price change, when one can buy them."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from include.demo.shop.invent.chance import Calendar, Weighted, fates, long_tail, money
from include.demo.shop.invent.states import Row, States

# Subcategory -> (lowest price, highest price, nouns); seasons are the category's demand, January first.
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
FATES = {
    "repriced": 0.20,
    "restocked": 0.25,
    "launched": 0.05,
    "retired": 0.02,
    "long_retired": 0.03,
    "renamed": 0.01,
    "vanished": 0.004,
}


@dataclass(frozen=True)
class Product:
    """What the shop sells: ``price`` until the day ``repriced_on``, ``new_price`` from it on."""

    product_id: str
    popularity: float
    seasons: tuple[float, ...]
    price: Decimal
    new_price: Decimal
    repriced_on: date | None
    launched_on: date
    gone_on: date | None

    def price_on(self, day: date) -> Decimal:
        """The retail price of a day."""
        return self.new_price if self.repriced_on and day >= self.repriced_on else self.price

    def is_sold_on(self, day: date) -> bool:
        """Whether one can buy it on a day."""
        return self.launched_on <= day and (self.gone_on is None or day < self.gone_on)


def product_id(number: int) -> str:
    """As the shop writes it: at least three digits."""
    return f"PROD{number:03d}"


def shelf(products: list[Product], day: date) -> Weighted[Product]:
    """The products one can buy on a day, by how much they are wanted then."""
    sold = [product for product in products if product.is_sold_on(day)]
    return Weighted(sold, [product.popularity * product.seasons[day.month - 1] for product in sold])


def catalogue(rng: Random, count: int, calendar: Calendar) -> tuple[list[Product], States, States]:
    """
    :return: the products, and the two states of the tables ``product`` and ``product_category``
    """
    products: list[Product] = []
    names, details = States(), States()
    popularity = long_tail(rng, count)
    category_names = list(CATEGORIES)
    for number, fate in enumerate(fates(rng, count, FATES)):
        category_name = category_names[number % len(category_names)]
        key = product_id(number + 1)
        name, detail = _describe(rng, key, category_name, calendar.first)
        new_name, new_detail = dict(name), dict(detail)
        changed_on = calendar.some_day(rng, margin=min(5, calendar.length // 3))
        gone_on: date | None = None
        if fate == "repriced":
            factor = Decimal(rng.choice((82, 88, 92, 95, 105, 108, 112, 118))) / 100
            new_detail |= _priced(_tidy(detail["retail_price"] * factor), detail["cost_price"])
            new_detail |= {"stock_level": rng.randint(0, 400), "last_updated": changed_on}
        elif fate == "restocked":
            new_detail |= {"stock_level": detail["stock_level"] + rng.randint(5, 200)}
            new_detail |= {"last_updated": changed_on}
        elif fate == "launched":
            new_detail |= {"launch_date": changed_on, "last_updated": changed_on}
        elif fate == "retired":
            gone_on = changed_on
            new_detail |= {"discontinued": True, "stock_level": 0, "last_updated": changed_on}
        elif fate == "long_retired":
            gone_on = detail["last_updated"]
            detail |= {"discontinued": True, "stock_level": 0}
            new_detail |= detail
        elif fate == "renamed":
            new_name["product_name"] = f"{name['product_name']} II"
        elif fate == "vanished":
            gone_on = changed_on
        if fate != "launched":
            names.opening[key], details.opening[key] = name, detail
        if fate != "vanished":
            names.final[key], details.final[key] = new_name, new_detail
        products.append(
            Product(
                product_id=key,
                popularity=popularity[number],
                seasons=CATEGORIES[category_name]["seasons"],
                price=detail["retail_price"],
                new_price=new_detail["retail_price"],
                repriced_on=changed_on if fate == "repriced" else None,
                launched_on=new_detail["launch_date"],
                gone_on=gone_on,
            )
        )
    return products, names, details


def _describe(rng: Random, key: str, category_name: str, first: date) -> tuple[Row, Row]:
    """The columns of ``product`` and ``product_category`` of a product on sale before the first day."""
    category = CATEGORIES[category_name]
    category_id = f"CAT{list(CATEGORIES).index(category_name) + 1:02d}"
    subcategory = rng.choice(list(category["subcategories"]))
    lowest, highest, nouns = category["subcategories"][subcategory]
    brand = rng.choice(category["brands"])
    where = rng.random()  # squared below: most products are near the lower end of the range
    price = _tidy(Decimal(int(100 * (lowest + (highest - lowest) * where * where))) / 100)
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
    """A price as shops write them: 12.99."""
    return max(Decimal(int(price)), Decimal(3)) - Decimal("0.01")


def _priced(price: Decimal, cost: Decimal) -> Row:
    return {
        "cost_price": cost,
        "retail_price": price,
        "margin_percent": money((price - cost) / price * 100),
    }

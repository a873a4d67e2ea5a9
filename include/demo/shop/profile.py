"""
Write the profile of the shop that a stack was filled from: which sources it has, and where they lie in the stack.

A shop that has all sources in their usual form needs none: the profile `default` says the same.
"""

from collections.abc import Collection
from pathlib import Path

import yaml

from ecommerce.common.sources import SOURCES
from include.demo.shop.fill_sources import TOPIC
from include.demo.shop.shop_folder import SHOP_TABLES

FILE = "shop.yml"
ABSENT = "absent"
DEFAULT = Path(__file__).parents[2] / "shops" / "default"
#: Source → the template of the default profile that turns its table into the warehouse's form.
TEMPLATES = {"subscription_data": DEFAULT / "subscription_data.sql"}


def shop_profile(sources: Collection[str], *, customers_are_numbers: bool) -> str | None:
    """
    Write the profile of a shop as the text of a ``shop.yml``; None: the profile `default` fits.

    :param sources: the sources that the shop has
    :param customers_are_numbers: its customers are called 17, and not CUST017, so that no template may rename them
    """
    templates = {} if customers_are_numbers else TEMPLATES
    if set(sources) >= set(SOURCES) and templates == TEMPLATES:
        return None
    locations = {name: _location(name, templates) if name in sources else ABSENT for name in SOURCES}
    return "# Written by the demo, from the files of its shop.\n" + yaml.safe_dump(
        {"sources": locations}, sort_keys=False, default_flow_style=None, width=1000
    )


def _location(source: str, templates: dict[str, Path]) -> dict[str, str]:
    if source in SHOP_TABLES:
        where = {"template": str(templates[source])} if source in templates else {"table": f"public.{source}"}
        return {"connection": "shop_postgres", **where}
    if SOURCES[source].reader == "kafka":
        return {"connection": "shop_kafka", "topic": TOPIC}
    return {"connection": "weather_api"}


def write_profile(folder: Path, text: str | None) -> None:
    """Make a folder's ``shop.yml`` hold this text; None: there is none."""
    path = folder / FILE
    if text is None:
        path.unlink(missing_ok=True)
        return
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Airflow may be reading it: in one step.
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)

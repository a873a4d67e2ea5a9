"""
Write the profile of the shop that a stack was filled from: which sources it has, and where they lie in the stack.

A shop that has all sources in their usual form needs none: the profile `default` says the same.
"""

from collections.abc import Collection
from pathlib import Path

import yaml

from ecommerce.common.shop import ABSENT, PROFILE, SHOPS
from ecommerce.common.sources import SOURCES

DEFAULT = SHOPS / "default"


def shop_profile(sources: Collection[str], *, customers_are_numbers: bool) -> str | None:
    """
    Write the profile of a shop as the text of a ``shop.yml``; None: the profile `default` fits.

    :param sources: the sources that the shop has
    :param customers_are_numbers: its customers are called 17, and not CUST017, so that no template may rename them
    """
    if set(sources) >= set(SOURCES) and not customers_are_numbers:
        return None
    defaults = yaml.safe_load((DEFAULT / PROFILE).read_text(encoding="utf-8"))["sources"]
    locations = {
        name: _location(name, defaults[name], customers_are_numbers) if name in sources else ABSENT for name in SOURCES
    }
    return "# Written by the demo, from the files of its shop.\n" + yaml.safe_dump(
        {"sources": locations}, sort_keys=False, default_flow_style=None, width=1000
    )


def _location(source: str, default: dict[str, str], customers_are_numbers: bool) -> dict[str, str]:
    """Where the profile `default` has a source, for a profile in another folder."""
    if "template" not in default:
        return default
    if customers_are_numbers:
        return {"connection": default["connection"], "table": f"public.{source}"}
    return {**default, "template": str(DEFAULT / default["template"])}


def write_profile(folder: Path, text: str | None) -> None:
    """Make a folder's ``shop.yml`` hold this text; None: there is none."""
    path = folder / PROFILE
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

"""A shop with a time zone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce.common.shop import VARIABLE


@pytest.fixture
def set_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Choose a shop with this time zone."""

    def choose(zone: str) -> None:
        folder = tmp_path / zone.replace("/", "-")
        folder.mkdir(exist_ok=True)
        (folder / "shop.yml").write_text(f"time_zone: {zone}\nsources:\n  sales_fact: {{connection: c, table: t}}\n")
        monkeypatch.setenv(VARIABLE, str(folder))

    return choose

"""Write the shop of a history as the files from which the expected marts are computed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from ecommerce.common.sources import SOURCES
from tests.integration.histories.shop import Shop


def write_shop_files(shop: Shop, folder: Path, sources: Sequence[str] = tuple(SOURCES)) -> None:
    """One CSV file a source; the topic's messages are lines of ``messages.jsonl``, each with the broker's time."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        columns = [column.name for column in SOURCES[source].columns]
        with (folder / f"{source}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(shop.tables[source].values())
    messages = [message for partition in shop.topic for message in partition]
    lines = [json.dumps({"published_at": str(each.published), "value": json.dumps(each.row)}) for each in messages]
    (folder / "messages.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

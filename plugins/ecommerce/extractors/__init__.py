"""Readers of the source systems: rows out, nothing about `raw`."""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.extractors.kafka import KafkaReader
from ecommerce.extractors.postgres import PostgresReader
from ecommerce.extractors.quarantine import QuarantineReader
from ecommerce.extractors.weather import WeatherReader
from ecommerce.loading import Reader
from ecommerce.sources import Source
from ecommerce.windows import Window


def reader_of(source: Source, window: Window) -> Reader:
    """The reader that the registry names for a source."""
    match source.reader:
        case "postgres":
            return PostgresReader(source, window)
        case "kafka":
            return KafkaReader(source, window)
        case "weather":
            return WeatherReader(source, window)
    raise ValueError(f"source {source.name} names the reader {source.reader!r}; there are postgres, kafka, weather")


def reader_of_refused(source: Source, connection: Connection, chosen: sql.Composable) -> Reader:
    """The reader of what a source that is appended to has in quarantine; ``chosen`` as in `QuarantineReader`."""
    return QuarantineReader(source, connection, chosen)

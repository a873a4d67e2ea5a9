"""Chooses the reader of a source by the registry's entry."""

from __future__ import annotations

from ecommerce.common.sources import Source
from ecommerce.common.windows import Window
from ecommerce.extract.kafka_reader import KafkaReader
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.extract.reader_protocol import Reader
from ecommerce.extract.weather_reader import WeatherReader


def reader_of(source: Source, window: Window) -> Reader:
    """
    The reader that the registry names for a source.

    :raises ValueError: there is no such reader, or the entry of a topic does not name it
    """
    match source.reader:
        case "postgres":
            return PostgresReader(source, window)
        case "kafka":
            return KafkaReader(source, window)
        case "weather":
            return WeatherReader(source, window)
    raise ValueError(f"source {source.name} names the reader {source.reader!r}; there are postgres, kafka, weather")

"""Chooses the reader of a source: by its kind in the registry, and for a database by the connection's type."""

from __future__ import annotations

from ecommerce.common.connections import connection_type
from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.sources import Source
from ecommerce.common.windows import Window
from ecommerce.extract.change_reader import ChangeReader
from ecommerce.extract.kafka_reader import KafkaReader
from ecommerce.extract.mysql_reader import MySQLReader
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.extract.reader_protocol import Reader
from ecommerce.extract.weather_reader import WeatherReader


def reader_of(source: Source, window: Window, location: SourceLocation | None = None) -> Reader:
    """
    The reader of a source, at the place that the shop's profile names.

    :param location: another place
    :raises ShopError: the profile has a mistake, or says that the shop does not have the source
    :raises SourceError: the connection is to a kind of database that cannot be read
    :raises ValueError: the registry names a reader that there is not
    """
    location = location or shop().location_of(source.name)
    match source.reader:
        case "database":
            return _database_reader(source, location, window)
        case "kafka":
            return KafkaReader(source, location, window)
        case "weather":
            return WeatherReader(source, location, window)
    raise ValueError(f"source {source.name} names the reader {source.reader!r}; there are database, kafka, weather")


def _database_reader(source: Source, location: SourceLocation, window: Window) -> Reader:
    if location.topic:
        return ChangeReader(source, location, window)
    match connection_type(location.connection):
        # Without such a connection the load fails at its first read, and its batch has the reason.
        case "postgres" | None:
            return PostgresReader(source, location, window)
        case "mysql" | "mariadb":
            return MySQLReader(source, location, window)
        case other:
            raise SourceError(
                f"{source.name}: the connection {location.connection!r} is of the type {other!r}, and a database can "
                "be read by connections of the types postgres and mysql; change it under Admin → Connections"
            )

"""
CSV files of any size, sent as they are read.

Postgres gives the rows of a cursor batch by batch, so that a file of a million rows takes the memory of one batch. A
file that cannot be finished is broken off: a client sees an error, and never a file that only seems whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import psycopg
from psycopg import AsyncConnection
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from shop_pages import formats, limits
from shop_pages.pool import WarehouseUnavailable, connection_arguments, connection_problem, statement_problem

#: The name of the connections, for whoever looks for them in Postgres.
APPLICATION_NAME = "airflow pages, download"


class Downloads:
    """
    Whole results, batch by batch, each over a connection of its own: a slow client delays no page.

    :param conn_id: the Airflow connection
    :param size: most results at once
    """

    def __init__(self, conn_id: str, size: int = limits.MAX_DOWNLOADS) -> None:
        self.conn_id = conn_id
        self.size = size
        self.running = 0
        self._of_user: Counter[str] = Counter()

    async def batches(
        self, query: str, parameters: Mapping[str, Any], user: str = ""
    ) -> AsyncGenerator[list[tuple[Any, ...]]]:
        """
        All rows of a query, in its order. The connection ends with the iteration, or when that is closed.

        :param user: who downloads them; one user does not take the place of all others
        :raises WarehouseUnavailable: no connection; too many results at once; or it takes too long
        """
        if self.running >= self.size:
            raise WarehouseUnavailable(f"{self.size} files are being sent already; try again in a moment")
        if self._of_user[user] >= limits.MAX_DOWNLOADS_OF_USER:
            raise WarehouseUnavailable(
                f"{limits.MAX_DOWNLOADS_OF_USER} files are being sent to you already; try again when one is there"
            )
        self.running += 1
        self._of_user[user] += 1
        try:
            connection = await self._connect()
            try:
                async with aclosing(self._read(connection, query, parameters)) as batches:
                    async for rows in batches:
                        yield rows
            except psycopg.Error as error:
                problem = statement_problem(error, self.conn_id, limits.DOWNLOAD_FIRST_ROW_TIMEOUT)
                raise problem or connection_problem(error, self.conn_id) from error
            finally:
                await connection.close()
        finally:
            self.running -= 1
            # Forgets users without any.
            self._of_user -= Counter([user])

    async def _connect(self) -> AsyncConnection[tuple[Any, ...]]:
        # In a thread: the secrets backend may ask the network.
        arguments = await asyncio.to_thread(
            connection_arguments,
            self.conn_id,
            statement_timeout=limits.DOWNLOAD_FIRST_ROW_TIMEOUT,
            idle_timeout=limits.DOWNLOAD_IDLE_TIMEOUT,
        )
        try:
            return await AsyncConnection.connect(**{**arguments, "application_name": APPLICATION_NAME})
        except psycopg.Error as error:
            raise connection_problem(error, self.conn_id) from error

    async def _read(
        self, connection: AsyncConnection[tuple[Any, ...]], query: str, parameters: Mapping[str, Any]
    ) -> AsyncGenerator[list[tuple[Any, ...]]]:
        deadline = time.monotonic() + limits.DOWNLOAD_TIMEOUT
        cursor = connection.cursor("download")
        await cursor.execute(query.encode(), parameters)
        while rows := await cursor.fetchmany(limits.DOWNLOAD_BATCH):
            yield rows
            if time.monotonic() > deadline:
                raise WarehouseUnavailable(f"the file took longer than {limits.DOWNLOAD_TIMEOUT:,.0f} s")


class CsvDownload(StreamingResponse):
    """
    A CSV file that is sent while it is read.

    :param lines: its parts
    :param batches: the query behind them; closed with the response, also when the client has gone
    """

    def __init__(
        self, lines: AsyncGenerator[str], batches: AsyncGenerator[list[tuple[Any, ...]]], headers: Mapping[str, str]
    ) -> None:
        super().__init__(lines, media_type="text/csv; charset=utf-8", headers=headers)
        self._lines = lines
        self._batches = batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, and end the query however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._lines.aclose()
            await self._batches.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send the parts; break off if the client takes none for `DOWNLOAD_IDLE_TIMEOUT` seconds."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(limits.DOWNLOAD_IDLE_TIMEOUT):
                await send(message)

        await super().stream_response(send_in_time)


async def csv_download(
    downloads: Downloads,
    query: str,
    parameters: Mapping[str, Any],
    header: Sequence[str],
    headers: Mapping[str, str],
    user: str = "",
) -> CsvDownload:
    """
    The rows of a query as a CSV file, which is broken off after `DOWNLOAD_BYTES`.

    :param header: the first line
    :param headers: of the response
    :param user: who downloads it
    :raises WarehouseUnavailable: before the first byte is sent, so that the reader gets a page with the reason
    """
    batches = downloads.batches(query, parameters, user)
    first: list[tuple[Any, ...]] = await anext(batches, [])

    async def lines() -> AsyncGenerator[str]:
        text = formats.csv_text(header, first)
        sent = len(text)
        yield text
        async for rows in batches:
            text = formats.csv_lines(rows)
            sent += len(text)
            if sent > limits.DOWNLOAD_BYTES:
                raise WarehouseUnavailable(f"the file has more than {limits.DOWNLOAD_BYTES:,} bytes; choose fewer days")
            yield text

    return CsvDownload(lines(), batches, headers)

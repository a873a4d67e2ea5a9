"""Rows that a reader sends while the warehouse is busy with something else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from ecommerce.extract.reader_protocol import Chunk

_BLOCKS = (bytes, bytearray, memoryview)
#: Bytes of memory for rows that wait. With more, the reader waits until they are taken.
AHEAD = 32 * 1024 * 1024
#: Bytes that Python takes for a text, besides the text.
_TEXT = 60


class ReadAhead:
    """
    Chunks of a reader: the first ones are read at once, maybe in another thread, the rest when they are taken.

    At the end of the context the reader is closed, also if nobody took its chunks.
    """

    def __init__(self) -> None:
        self._read: deque[Chunk] = deque()
        self._rest: Any = iter(())

    def begin(self, chunks: Iterator[Chunk]) -> None:
        """Read the first chunks, until they take `AHEAD` bytes."""
        self._rest = chunks
        memory = 0
        while memory < AHEAD and (chunk := next(chunks, None)) is not None:
            self._read.append(chunk)
            memory += size_of(chunk) + (0 if isinstance(chunk, _BLOCKS) else _TEXT * len(chunk))

    def chunks(self) -> Iterator[Chunk]:
        """All chunks; none if nothing was begun."""
        while self._read:
            yield self._read.popleft()
        yield from self._rest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if hasattr(self._rest, "close"):
            self._rest.close()


def size_of(chunk: Chunk) -> int:
    """Bytes of a block, or characters of a row of texts."""
    if isinstance(chunk, _BLOCKS):
        return len(chunk)
    return sum(len(value) for value in chunk if value)

"""A small picture of bars as PNG, which every mail program shows (it shows no SVG)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

#: Of the palette: no bar, a bar, and the last bar, which is the day of the digest.
_WHITE, _BLUE, _ORANGE = range(3)
_PALETTE = bytes((255, 255, 255, 142, 176, 228, 224, 122, 31))
#: Pixels of a bar and of the gap after it, and of the picture's height.
BAR_WIDTH, GAP, HEIGHT = 5, 1, 36


def bar_picture(values: Sequence[float | None]) -> bytes:
    """
    A bar for each value, from 0 or the smallest value up, the last one in another colour.

    :param values: None is a gap
    :returns: a PNG file with a palette of three colours (https://www.w3.org/TR/png-3/)
    """
    heights = _heights(values)
    rows = bytearray()
    for y in range(HEIGHT):
        # Each line of the picture begins with the number of its filter, 0: none.
        rows.append(0)
        for n, height in enumerate(heights):
            colour = _WHITE if HEIGHT - y > height else _ORANGE if n == len(heights) - 1 else _BLUE
            rows += bytes([colour] * BAR_WIDTH + [_WHITE] * GAP)
    width = len(heights) * (BAR_WIDTH + GAP)
    # Eight bits a pixel, which are numbers of the palette (colour type 3).
    header = struct.pack(">IIBBBBB", width, HEIGHT, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _heights(values: Sequence[float | None]) -> list[int]:
    """Pixels of each bar; a value that is there has at least one."""
    known = [value for value in values if value is not None]
    low, high = min(0.0, *known) if known else 0.0, max(known, default=0.0)
    span = (high - low) or 1.0
    return [0 if value is None else max(1, round((value - low) / span * HEIGHT)) for value in values]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

"""Log files on this machine, without a customer."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecommerce.erase.person import Person
from ecommerce.erase.receipt import Counts


def erase_in_logs(folders: Sequence[Path], person: Person, *, dry_run: bool = False) -> Counts:
    """
    Write asterisks over the customer's names, addresses and keys in all files of these folders; how many there were.

    A file keeps its length, so whoever appends to it meanwhile is not disturbed.
    """
    patterns = [re.compile(pattern) for mention in person.mentions for pattern in mention.patterns_in_files]
    counts: Counts = {}
    for folder in folders:
        found = sum(_erase_in_file(path, patterns, dry_run=dry_run) for path in _files(folder))
        if found:
            counts[f"log files in {folder}"] = found
    return counts


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        # Of a link the file that it leads to: so is Postgres' log of the demo.
        if path.is_file() and path.stat().st_size:
            yield path


def _erase_in_file(path: Path, patterns: Sequence[re.Pattern[bytes]], *, dry_run: bool) -> int:
    """
    Write over all matches in a file; how many there are.

    :raises PermissionError: the file has some, and may not be written
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            places = [match.span(match.lastindex or 0) for pattern in patterns for match in pattern.finditer(content)]
    except (FileNotFoundError, ValueError):
        # It was rotated away, or emptied, since the folder was read.
        return 0
    if places and not dry_run:
        with path.open("r+b") as writable:
            for start, end in places:
                writable.seek(start)
                writable.write(b"*" * (end - start))
    return len(places)

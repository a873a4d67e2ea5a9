"""Log files on this machine, without a customer."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecommerce.erase.person import Person
from ecommerce.erase.tables import Counts


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
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            yield path


def _erase_in_file(path: Path, patterns: Sequence[re.Pattern[bytes]], *, dry_run: bool) -> int:
    with path.open("rb" if dry_run else "r+b") as file:
        access = mmap.ACCESS_READ if dry_run else mmap.ACCESS_WRITE
        with mmap.mmap(file.fileno(), 0, access=access) as content:
            places = [match.span(match.lastindex or 0) for pattern in patterns for match in pattern.finditer(content)]
            if not dry_run:
                for start, end in places:
                    content[start:end] = b"*" * (end - start)
            return len(places)

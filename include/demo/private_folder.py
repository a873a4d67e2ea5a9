"""Folders of this user alone in places where every user of the computer may write, such as /var/tmp."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from include.demo.errors import StackError


def private_folder(path: Path) -> Path:
    """
    Create a folder that only this user may enter, or check that it is one.

    Somebody else can create a folder of a name that can be guessed first, or a link of that name to a folder of ours.

    :raises StackError: it belongs to another user, or is no folder
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not is_folder_of(path, os.geteuid()):
            raise StackError(f"{path} is no folder of this user: somebody else has made it; remove it") from None
        path.chmod(0o700)
    return path


def is_folder_of(path: Path, *users: int) -> bool:
    """Whether a path is a folder, and no link to one, that belongs to one of these users (uids)."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in users

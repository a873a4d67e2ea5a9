"""
Which patches of Airflow apply: each is written for certain functions, and stays off when one of them is another.

A function is known by the digest of its code or by its parameters, not by Airflow's version: a release that did not
touch the functions of a patch leaves it on, and one that did turns off this patch alone.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import logging
import os
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

#: Environment variable with names of patches that stay off, separated by commas; for `benchmarks/patches.py`.
PATCHES_OFF = "DBT_TRIGGERER_PATCHES_OFF"
_MARK = "_patched_by_dbt_triggerer"


@dataclass(frozen=True)
class Patch:
    """
    A change of Airflow's own code, and what it is written for. Functions are named as ``module:qualified.name``.

    :param process: where it is applied, ``triggerer`` or ``worker``
    :param sources: functions that it replaces or whose steps it relies on → the digest of their code
    :param signatures: functions that it calls or wraps → the names of their parameters
    """

    name: str
    process: str
    apply: Callable[[], None]
    sources: Mapping[str, str] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)

    def differences(self) -> list[str]:
        """How the installed Airflow differs from the one that the patch is written for; empty if it does not."""
        by_source = (_difference(path, source_digest, digest) for path, digest in self.sources.items())
        by_signature = (_difference(path, parameters_of, names) for path, names in self.signatures.items())
        return [text for text in (*by_source, *by_signature) if text]


class PatchSet:
    """The patches of a module, in their order: `register` decorates the function that applies one."""

    def __init__(self) -> None:
        self._patches: dict[str, Patch] = {}

    def __iter__(self) -> Iterator[Patch]:
        return iter(self._patches.values())

    def __getitem__(self, name: str) -> Patch:
        return self._patches[name]

    def register(self, process: str, **written_for: Mapping[str, str]) -> Callable[[Any], Any]:
        """Make a patch of a function; its name is the function's."""

        def add(apply: Callable[[], None]) -> Callable[[], None]:
            self._patches[apply.__name__] = Patch(apply.__name__, process, apply, **written_for)
            return apply

        return add

    def reasons_off(self, patch: Patch) -> list[str]:
        """Why a patch does not apply here; empty if it does."""
        if patch.name in _names_off():
            return [f"{PATCHES_OFF} names it"]
        return patch.differences()

    def apply(self, process: str) -> list[str]:
        """Apply the patches of a process that fit the installed Airflow; their names. Each other one is logged."""
        from airflow import __version__

        if unknown := _names_off() - self._patches.keys():
            log.warning("%s names patches that do not exist: %s", PATCHES_OFF, ", ".join(sorted(unknown)))
        applied = []
        for patch in self:
            if patch.process != process:
                continue
            if reasons := self.reasons_off(patch):
                log.warning(
                    "the patch %s of Airflow's %s stays off: %s. Airflow is %s; see plugins/dbt_triggerer/README.md",
                    patch.name,
                    process,
                    "; ".join(reasons),
                    __version__,
                )
                continue
            patch.apply()
            applied.append(patch.name)
        return applied


def replace(owner: type, name: str, made_of: Callable[[Any], Any]) -> None:
    """Put what is made of a function of Airflow in its place, once."""
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        patched = wraps(original)(made_of(original))
        setattr(patched, _MARK, True)
        setattr(owner, name, patched)


def find(path: str) -> Any:
    """
    A function by its module and name.

    :param path: ``module:qualified.name``
    :raises LookupError: there is none
    """
    module, _, name = path.partition(":")
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{path} does not exist") from error
    return found


def source_digest(function: Any) -> str:
    """Digest of a function's code; comments, docstrings, blank lines and the depth of its indentation do not count."""
    # Text and not ast.dump or ast.unparse, whose output differs between versions of Python.
    source = textwrap.dedent(inspect.getsource(function))
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for docstring in _docstrings(ast.parse(source)):
        for row in range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1):
            lines[row - 1] = ""
    code = "\n".join(line.rstrip() for line in lines if line.strip())
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def parameters_of(function: Any) -> str:
    """The names of a function's parameters, separated by blanks."""
    return " ".join(inspect.signature(function).parameters)


def _difference(path: str, look_at: Callable[[Any], str], expected: str) -> str | None:
    try:
        found = look_at(find(path))
    except LookupError as error:
        return str(error)
    except (OSError, TypeError, ValueError) as error:
        return f"{path} cannot be compared: {error}"
    return None if found == expected else f"{path} has changed"


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node) is not None:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                yield first


def _names_off() -> set[str]:
    return {name.strip() for name in os.environ.get(PATCHES_OFF, "").split(",")} - {""}

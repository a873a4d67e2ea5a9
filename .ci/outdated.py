"""
Which locked packages are behind, what holds them back, and whether a newer lock can be made: `make outdated`.

Nothing is changed. "Ranges" are those of pyproject.toml; a package holds another back if it takes no such version.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
#: As `make lock` compiles, but without hashes, which nobody reads here.
COMPILE = [
    str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
    "--no-annotate", "--no-header",
]  # fmt: skip

Versions = Mapping[str, Version]

#: The one package that is no Python package: its file stands in the repository.
PLOTLY = "plotly.js-cartesian-dist-min"
PLOTLY_FILE = ROOT / "plugins/shop_pages/static/plotly-cartesian.min.js"


@dataclass(frozen=True)
class Outdated:
    """A package whose latest version is not locked."""

    name: str
    locked: Version
    latest: Version
    #: What the ranges and the other packages allow; None if no newer lock can be made.
    possible: Version | None
    is_direct: bool
    #: Ranges that the latest version is not in, with whose they are.
    held_by: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """What to do, or what is in the way."""
        reason = f"held back by {'; '.join(self.held_by)}" if self.held_by else "needs other versions than the rest"
        if self.possible is None:
            return reason if self.held_by else "not known: no newer lock can be made"
        if self.possible >= self.latest:
            return "make lock UPGRADE=1"
        return f"{reason}; {self.possible} is possible" if self.possible > self.locked else reason


def without_versions(text: str) -> str:
    """A requirements file of the same packages, for the same Pythons and systems, in any version."""
    return "\n".join(
        name + marker for name, marker in re.findall(r"^([\w.-]+)==[^\s;\\]+( ;[^\\]*)?", text, re.MULTILINE)
    )


def read_lock(text: str) -> dict[str, Version]:
    """A requirements file: package → its version, the highest one if it depends on the Python or the system."""
    found: dict[str, Version] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        key = canonicalize_name(name)
        found[key] = max(Version(version), found.get(key, Version(version)))
    return found


def ranges_of(project: Mapping[str, Mapping]) -> list[tuple[str, Requirement]]:
    """The ranges of a pyproject.toml, with whose they are."""
    texts = [*project["project"]["dependencies"], *chain.from_iterable(project["dependency-groups"].values())]
    return [("pyproject.toml", Requirement(text)) for text in texts]


def ranges_of_installed(names: Iterable[str]) -> list[tuple[str, Requirement]]:
    """The ranges of the installed packages of these names."""
    ranges = []
    for name in names:
        try:
            texts = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            # One for another Python or system.
            continue
        ranges += [(name, Requirement(text)) for text in texts]
    return ranges


def find_outdated(
    locked: Versions, latest: Versions, possible: Versions | None, ranges: Iterable[tuple[str, Requirement]]
) -> list[Outdated]:
    """The packages that are behind, those of pyproject.toml first."""
    by_name: dict[str, list[tuple[str, Requirement]]] = {}
    for owner, requirement in ranges:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            by_name.setdefault(canonicalize_name(requirement.name), []).append((owner, requirement))
    found = [
        Outdated(
            name=name,
            locked=version,
            latest=latest[name],
            possible=possible.get(name) if possible else None,
            is_direct=any(owner == "pyproject.toml" for owner, _ in by_name.get(name, ())),
            held_by=tuple(
                f"{owner} ({requirement.specifier})"
                for owner, requirement in by_name.get(name, ())
                if latest[name] not in requirement.specifier
            ),
        )
        for name, version in locked.items()
        if name in latest and latest[name] > version
    ]
    return sorted(found, key=lambda each: (not each.is_direct, each.name))


def compile_lock(arguments: Iterable[str]) -> tuple[dict[str, Version] | None, str]:
    """What uv compiles; None and its reason if there is no solution."""
    result = subprocess.run([*COMPILE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return (read_lock(result.stdout), "") if result.returncode == 0 else (None, result.stderr.strip())


def version_of_plotly() -> Version:
    """The version of the charts' library, by the first lines of its file."""
    found = re.search(r"\bv(\d+\.\d+\.\d+)\b", PLOTLY_FILE.read_text()[:200])
    if found is None:
        raise ValueError(f"{PLOTLY_FILE.relative_to(ROOT)} does not say its version in its first lines")
    return Version(found[1])


def latest_of_plotly() -> Version:
    """The version that npm gives."""
    with urllib.request.urlopen(f"https://registry.npmjs.org/{PLOTLY}/latest", timeout=30) as answer:
        return Version(json.load(answer)["version"])


def main() -> int:
    """Print the table. The exit code is 0 also if something is behind: that is no error."""
    lock = "\n".join((ROOT / f"requirements-{name}.txt").read_text() for name in ("dev", "uv"))
    locked = read_lock(lock)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    possible, reason = compile_lock(["pyproject.toml", "--group", "dev", "--group", "installer"])
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.txt"
        names.write_text(without_versions(lock))
        latest, failure = compile_lock(["--no-deps", str(names)])
    if latest is None:
        print(f"the package index does not say what is new: {failure}", file=sys.stderr)
        return 0
    outdated = find_outdated(locked, latest, possible, ranges_of(project) + ranges_of_installed(locked))
    for title, is_direct in (("Named in pyproject.toml", True), ("Needed by those", False)):
        rows = [each for each in outdated if each.is_direct == is_direct]
        if rows:
            print(f"{title}\n  {'package':32} {'locked':>14} {'latest':>14}   ")
        for each in rows:
            print(f"  {each.name:32} {each.locked!s:>14} {each.latest!s:>14}   {each.verdict}")
    print(f"{len(outdated)} of {len(locked)} packages are behind")
    used = version_of_plotly()
    try:
        newest = latest_of_plotly()
    except OSError as error:
        print(f"{PLOTLY} {used} of the pages: npm does not say what is new: {error}")
    else:
        print(f"{PLOTLY} {used} of the pages: {'the latest' if used >= newest else f'{newest} is out'}")
    print("a newer lock can be made: make lock UPGRADE=1" if possible else f"no newer lock can be made: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

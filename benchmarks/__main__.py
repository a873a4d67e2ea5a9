"""List the benchmarks, or run one of them: `make bench`, `make bench NAME=main_job ARGS="--runs 5"`."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Map the name of each benchmark to the first line of its description."""
    modules = {path.stem: path for path in FOLDER.glob("*.py")}
    modules |= {path.parent.name: path for path in FOLDER.glob("*/__main__.py")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in sorted(modules.items())}
    return {
        name: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        for name, text in texts.items()
        if name != "__main__" and "ArgumentParser(" in text
    }


def main(arguments: list[str]) -> int:
    """List the benchmarks without arguments; otherwise run the first argument with the others."""
    known = benchmarks()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, end="\n\n")
        for name, description in known.items():
            print(f"  {name:<16} {description}")
        print('\nThe options of a benchmark: make bench NAME=main_job ARGS="--help"')
        return 0
    name = arguments[0]
    if name not in known:
        print(f"error: there is no benchmark {name!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [f"make bench NAME={name}", *arguments[1:]]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

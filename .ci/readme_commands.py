"""
Run every shell command of the pages below, in their order, on a stack of its own.

`make test` is not run here, since it is CI's next step. Commands that need `psql` are skipped on a machine without it.
Blocks of `text` are not run: they need Docker, another Airflow or much time, and the pages say so.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: README.md first: it starts the stack that the others use.
PAGES = ("README.md", "docs/operations.md", "docs/quality.md", "docs/alerts.md")
NOT_HERE = {"make test"}


def shell_commands(page: str) -> list[str]:
    """The lines of a page's `sh` blocks, each a whole command."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), flags=re.S | re.M)
    return [line for block in blocks for line in block.splitlines() if line and line not in NOT_HERE]


def main() -> int:
    commands = [command for page in PAGES for command in shell_commands(page)]
    assert "make demo" in commands
    folder = Path(tempfile.mkdtemp(prefix="ecommerce-readme-"))
    env = {**os.environ, "STACK_DIR": str(folder / "stack")}
    try:
        for command in commands:
            if command.startswith("psql") and shutil.which("psql") is None:
                print(f"skipped, no psql on this machine: {command}", flush=True)
                continue
            started = time.monotonic()
            outcome = subprocess.run(
                command, shell=True, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=900, check=False,
            )  # fmt: skip
            print(f"{outcome.returncode}  {time.monotonic() - started:6.1f} s  {command}", flush=True)
            if outcome.returncode != 0:
                print(outcome.stdout[-3000:], outcome.stderr[-3000:], sep="\n")
                return 1
    finally:
        subprocess.run(["make", "reset"], cwd=ROOT, env=env, check=False)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

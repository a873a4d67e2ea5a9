"""Run the shell commands of README.md in their order, on a stack of its own; without `make test`, CI's next step."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPPED = {"make test"}


def main() -> int:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    commands = [line for block in blocks for line in block.splitlines() if line and line not in SKIPPED]
    assert "make demo" in commands
    folder = Path(tempfile.mkdtemp(prefix="ecommerce-readme-"))
    env = {**os.environ, "STACK_DIR": str(folder / "stack")}
    try:
        for command in commands:
            if command.startswith("psql") and shutil.which("psql") is None:
                print(f"skipped, this machine has no psql: {command}", flush=True)
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

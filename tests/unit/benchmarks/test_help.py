"""The help of each benchmark, and the list of all of them: so that the documented commands start."""

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import benchmarks
from include.demo.state import ROOT

#: One process for all of them, since importing Airflow takes seconds; not this one, whose environment they change.
SHOW_HELP = """
import contextlib, importlib, io, json, pkgutil, sys
import benchmarks
from benchmarks.__main__ import main
texts = {}
for name in sys.argv[1:]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            main([name, "--help"])
        except SystemExit as end:
            assert not end.code, end.code
    texts[name] = output.getvalue()
# Some import what they need only after they have read their options.
for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks."):
    importlib.import_module(module.name)
json.dump(texts, sys.stdout)
"""


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """Benchmark → the output of its --help."""
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP, *benchmarks()],
        cwd=ROOT,
        # As `make` starts it: variables that are not set are exported empty.
        env={"PYTHONPATH": f"plugins:{ROOT}", "PATH": "", "STACK_DIR": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    texts: dict[str, str] = json.loads(shown.stdout)
    return texts


# Imports all of them, in a process that has imported nothing.
@pytest.mark.slow
@pytest.mark.parametrize("name", benchmarks())
def test_help_names_command_description_and_options(help_texts: dict[str, str], name: str) -> None:
    text = help_texts[name]
    assert f"usage: make bench NAME={name}" in text
    assert benchmarks()[name] in text
    options = [line.split() for line in text.splitlines() if line.startswith("  --")]
    assert options
    following = text.partition("options:\n")[2].splitlines()
    for number, line in enumerate(following):
        if line.startswith("  --"):
            is_explained = "  " in line.strip() or following[number + 1].startswith("    ")
            assert is_explained, f"{line.split()[0]} has no help"


@pytest.mark.parametrize(("name", "description"), benchmarks().items())
def test_description_says_where_the_benchmark_runs(name: str, description: str) -> None:
    assert description.endswith((": on the running demo.", ": on a stack of its own."))


def test_command_without_name_lists_benchmarks() -> None:
    listed = run_benchmarks()
    assert listed.returncode == 0
    for name, description in benchmarks().items():
        assert f"  {name} " in listed.stdout
        assert description in listed.stdout
    assert set(benchmarks()) == {
        "extract", "extract_kafka", "extract_mysql", "history", "main_job", "pages", "patches", "publish",
        "rejected_rows", "run_overhead", "waiting_checks",
    }  # fmt: skip


def test_unknown_benchmark_is_an_error() -> None:
    failed = run_benchmarks("speed")
    assert failed.returncode == 2
    assert "there is no benchmark 'speed'; there are: extract, " in failed.stderr


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

"""What README.md and the pages it links to say exists, exists: commands, files, tables, connections, checks."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = sorted(["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])

MAKE = re.compile(r"\bmake(?: -s)?((?: [a-z][a-z-]*)?)((?: [A-Z_]+=(?:\"[^\"]*\"|[^\s\"`)]*))*)")
#: Made by commands, so a clone does not hold them.
MADE = (".stack", ".venv", ".env", "include/dbt/target")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def table(page: str, *header: str) -> list[list[str]]:
    """The body of the Markdown table with this header, a list of cells a row."""
    lines = iter(page.splitlines())
    for line in lines:
        if cells(line) == list(header):
            next(lines)
            return [cells(row) for row in itertools.takewhile(lambda row: row.startswith("|"), lines)]
    raise AssertionError(f"there is no table {header}")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def made_commands(page: str) -> list[tuple[str, list[str]]]:
    """Every `make` that a page tells to type: target and names of variables."""
    code = [*blocks(page, "sh"), *blocks(page, "text"), *re.findall(r"`(make[^`\n]*)`", page)]
    return [
        (target.strip(), re.findall(r"([A-Z_]+)=", variables))
        for text in code
        for target, variables in MAKE.findall(text)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_is_a_target_with_known_variables(page: str):
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))
    # What the recipes read, and what is handed on to the stack.
    exported = re.findall(r"^export (.*)", MAKEFILE, re.MULTILINE)
    variables = {*re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE), *" ".join(exported).split()}
    commands = made_commands((ROOT / page).read_text())
    assert commands or page != "README.md"
    for target, given in commands:
        assert target in targets | {""}, f"make {target} is no target"
        assert set(given) <= variables, f"make {target}: unknown {set(given) - variables}"


def test_the_two_commands_come_first():
    assert blocks(README, "sh")[0].splitlines() == ["make demo", "make test"]


def test_shell_blocks_hold_one_whole_command_a_line():
    for page in PAGES:
        for block in blocks((ROOT / page).read_text(), "sh"):
            for line in block.splitlines():
                assert line.strip() == line, f"{page}: {line!r} goes on over lines"
                assert not re.search(r"\\$|^#|\.\.\.|…|<\w+>|path/to|example\.com", line), (
                    f"{page}: {line!r} cannot be run"
                )


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_folder_exists(page: str):
    text = (ROOT / page).read_text()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    linked = [(ROOT / page).parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)]
    quoted = [
        ROOT / name
        for name in re.findall(r"`([\w.][\w./-]*)`", prose)
        if ("/" in name or Path(name).suffix in {".py", ".md", ".yml", ".yaml", ".txt", ".toml", ".svg", ".sh"})
        and not name.startswith(MADE)
    ]
    for path in [*linked, *quoted]:
        assert path.exists(), f"{page} names {path}, which is not there"


def test_the_tree_is_as_drawn():
    drawn = next(block for block in blocks(README, "text") if block.startswith("dags/"))
    for line in drawn.splitlines():
        top, inside = re.split(r"\s{2,}", line, maxsplit=1)
        assert (ROOT / top).exists(), top
        for name in re.findall(r"[\w/]+(?:\.py|\.md|/)(?=[\s,;]|$)|models/\w+", inside):
            assert (ROOT / top / name).exists(), f"{top}{name}"


def test_the_marts_are_those_of_dbt():
    models = {path.stem for path in (ROOT / "include" / "dbt" / "models" / "marts").rglob("*.sql")}
    assert models
    named = [row[0].strip("`") for row in table(README, "Mart", "One row is", "What it answers")]
    assert len(named) == len(set(named))
    assert set(named) == models
    shown = next(block for block in blocks(README, "text") if block.startswith("Starting the stack"))
    assert {name for name in re.findall(r"^  (\w+) +[\d,]+$", shown, re.MULTILINE)} == models


def test_connections_variables_and_pools_are_those_of_the_settings():
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    described = {(kind, name.strip("`")) for kind, name, _ in table(README, "What", "Name", "Form")}
    assert described == {
        *(("connection", entry["conn_id"]) for entry in settings["connections"]),
        *(("variable", entry["variable_name"]) for entry in settings["variables"]),
        *(("pool", entry["pool_name"]) for entry in settings["pools"]),
    }


def test_checks_and_their_kinds_are_those_of_the_file():
    checks = yaml.safe_load((ROOT / "include" / "quality" / "checks.yml").read_text())["checks"]
    described = [name for row in table(README, "Check", "Fails when") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(described) == sorted(checks)
    page = (ROOT / "docs" / "quality.md").read_text()
    kinds = {row[0].strip("`") for row in table(page, "Kind", "Judges", "Its own settings")}
    assert kinds == {check["kind"] for check in checks.values()}


def test_operations_describe_every_table_of_ops():
    ddl = (ROOT / "include" / "sql" / "ops.sql").read_text()
    tables = re.findall(r"create (?:table if not exists|or replace view) ops\.(\w+)", ddl)
    described = [
        re.sub(r"[`()]|view", "", row[0]).strip() for row in table(OPERATIONS, "Table", "One row is", "Written by")
    ]
    assert tables
    assert sorted(described) == sorted(tables)


def test_the_picture_tells_itself_to_those_who_cannot_see_it():
    picture = ElementTree.parse(ROOT / "docs" / "flow.svg").getroot()
    title, description = (picture.findtext(f"{{http://www.w3.org/2000/svg}}{name}", "") for name in ("title", "desc"))
    assert title.strip()
    assert description.strip()
    alt = re.search(r"!\[(.+?)\]\(docs/flow\.svg\)", README, re.DOTALL)
    assert alt is not None
    assert len(alt[1]) > 80

"""README.md and the pages under docs: what they name exists (commands, files, checks), and they follow their form."""

import importlib.util
import itertools
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PRODUCTION = (ROOT / "docs" / "production.md").read_text()
QUALITY = (ROOT / "docs" / "quality.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = sorted(["README.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
#: The decisions are many and short, so each test looks at all of them together.
DECISION_PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "decisions").glob("*.md"))
FOLDER_OF_DECISIONS = "docs/decisions"
PAGES_AND_DECISIONS = [*PAGES, FOLDER_OF_DECISIONS]

MAKE = re.compile(r"\bmake(?: -s)?((?: [a-z][a-z-]*)?)((?: [A-Z_]+=(?:\"[^\"]*\"|[^\s\"`)]*))*)")
#: Files that commands make, so a clone does not have them.
GENERATED = (".stack", ".venv", ".env", "include/dbt/target")
#: Words that the glossary of docs/architecture.md has replaced.
OLD_WORDS = re.compile(
    r"\b(judg\w*|vouch\w*|doubtful|put aside|bury|buried|left[- ]out|landed|lands in raw)\b", re.IGNORECASE
)
#: Pages about the change of names itself.
PAGES_WITH_OLD_WORDS = {"CHANGELOG.md", "docs/migration.md"}


def texts_of(page: str) -> list[tuple[str, str]]:
    """(Page, text), or those of all decisions."""
    pages = DECISION_PAGES if page == FOLDER_OF_DECISIONS else [page]
    return [(name, (ROOT / name).read_text()) for name in pages]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)


def prose_of(page: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL)


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


def make_commands(page: str) -> list[tuple[str, list[str]]]:
    """Every `make` command of a page: target and names of variables."""
    code = [*blocks(page, "sh"), *blocks(page, "text"), *re.findall(r"`(make[^`\n]*)`", page)]
    return [
        (target.strip(), re.findall(r"([A-Z_]+)=", variables))
        for text in code
        for target, variables in MAKE.findall(text)
    ]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [Path(name) for name in filter(None, listed.stdout.split("\0"))]


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES_AND_DECISIONS)
def test_make_commands_have_known_targets_and_variables(page: str):
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))
    # What the recipes read, and what is handed on to the stack.
    exported = re.findall(r"^export (.*)", MAKEFILE, re.MULTILINE)
    variables = {*re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE), *" ".join(exported).split()}
    commands = [command for _, text in texts_of(page) for command in make_commands(text)]
    assert commands or page != "README.md"
    for target, given in commands:
        assert target in targets | {""}, f"make {target} is no target"
        assert set(given) <= variables, f"make {target}: unknown {set(given) - variables}"


def test_readme_starts_with_the_two_commands():
    assert blocks(README, "sh")[0].splitlines() == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES)
def test_shell_blocks_have_one_whole_command_a_line(page: str):
    for block in blocks((ROOT / page).read_text(), "sh"):
        for line in block.splitlines():
            assert line.strip() == line, f"{page}: {line!r} goes on over lines"
            assert not re.search(r"\\$|^#|\.\.\.|…|<\w+>|path/to|example\.com", line), f"{page}: {line!r} cannot be run"


def test_shell_blocks_all_run_in_ci():
    spec = importlib.util.spec_from_file_location("readme_commands", ROOT / ".ci" / "readme_commands.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert {page for page in (*PAGES, *DECISION_PAGES) if blocks((ROOT / page).read_text(), "sh")} == set(script.PAGES)


def test_benchmarks_in_docs_exist():
    for page in (*PAGES, *DECISION_PAGES):
        for name in re.findall(r"make bench NAME=(\w+)", (ROOT / page).read_text()):
            path = ROOT / "benchmarks" / name
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page}: {name}"


def test_benchmarks_are_documented_as_not_run_in_ci():
    speed = (ROOT / "docs" / "speed.md").read_text()
    assert "not run in CI" in speed.split("| Command |")[0]
    files = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__main__"}
    files |= {path.parent.name: path for path in (ROOT / "benchmarks").glob("*/__main__.py")}
    modules = {name for name, path in files.items() if "ArgumentParser(" in path.read_text()}
    assert set(re.findall(r"^\| `make bench NAME=(\w+)", speed, re.MULTILINE)) == modules


# -- files and folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES_AND_DECISIONS)
def test_named_files_and_folders_exist(page: str):
    for name, text in texts_of(page):
        prose = prose_of(text)
        linked = [(ROOT / name).parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)]
        quoted = [
            ROOT / path
            for path in re.findall(r"`([\w.][\w./-]*)`", prose)
            if ("/" in path or Path(path).suffix in {".py", ".md", ".yml", ".yaml", ".txt", ".toml", ".svg", ".sh"})
            and not path.startswith(GENERATED)
            and name not in PAGES_WITH_OLD_WORDS
        ]
        for path in [*linked, *quoted]:
            assert path.exists(), f"{name} names {path}, which does not exist"


@pytest.mark.parametrize("page", PAGES_AND_DECISIONS)
def test_links_to_headings_have_a_heading(page: str):
    for name, text in texts_of(page):
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", prose_of(text)):
            target = (ROOT / name).parent / link if link else ROOT / name
            assert anchor in anchors(target.read_text()), f"{name}: {link}#{anchor}"


def test_where_things_are_is_as_drawn():
    drawn = next(block for block in blocks(README, "text") if block.startswith("dags/"))
    for line in drawn.splitlines():
        top, inside = re.split(r"\s{2,}", line, maxsplit=1)
        assert (ROOT / top).exists(), top
        for name in re.findall(r"[\w/]+(?:\.py|\.md|\.yml|/)(?=[\s,;]|$)|models/\w+", inside):
            assert (ROOT / top / name).exists(), f"{top}{name}"


def test_where_things_are_names_every_folder():
    """Each top-level folder, each package under plugins and include, and each step of the pipeline."""
    drawn = next(block for block in blocks(README, "text") if block.startswith("dags/"))
    named = {line.split()[0] for line in drawn.splitlines()}
    folders = set()
    for path in tracked_files():
        depth = {"plugins": 2, "include": 2}.get(path.parts[0], 1)
        if path.parts[:2] == ("plugins", "ecommerce"):
            depth = 3
        folder = path.parent.parts[:depth]
        if len(folder) == depth:
            folders.add("/".join(folder) + "/")
    assert {"dags/", "plugins/ecommerce/load/", "plugins/shop_pages/", "include/dbt/", "tests/"} <= folders
    assert folders <= named


def test_readme_has_at_most_200_lines():
    assert len(README.splitlines()) <= 200


def test_readme_links_to_every_page():
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert pages | {"CHANGELOG.md"} <= set(re.findall(r"\]\(([^)#:]+)", README))


# -- the map -----------------------------------------------------------------------------------------------------------


def test_architecture_lists_every_dag():
    rows = table(ARCHITECTURE, "DAG", "Runs", "Does", "File")
    named = {dag for row in rows for dag in re.findall(r"`(\w+)`", row[0])}
    registry = (ROOT / "plugins" / "ecommerce" / "common" / "sources.py").read_text()
    sources = re.findall(r'^        name="(\w+)",$', registry, re.MULTILINE)
    assert len(sources) == 8
    files = {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert named == {*(files - {"extract_sources"}), *(f"extract_{source}" for source in sources)}


def test_architecture_lists_every_layer():
    steps = {path.parent.name for path in (ROOT / "plugins" / "ecommerce").glob("*/__init__.py")}
    rows = table(ARCHITECTURE, "Folder", "Does")
    assert steps <= set(re.findall(r"plugins/ecommerce/(\w+)/", "".join(row[0] for row in rows)))


def test_architecture_says_where_to_make_twenty_changes():
    rows = table(ARCHITECTURE, "To change", "Open")
    assert len(rows) >= 20
    for change, where in rows:
        assert re.search(r"`[\w./-]+`|\]\([\w./]+\)|`make |environment variable `", where), change


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/production.md", "docs/operations.md"])
def test_named_environment_variables_are_read_by_the_code(page: str):
    code = "".join(path.read_text() for folder in ("plugins", "tests") for path in (ROOT / folder).rglob("*.py"))
    for name in set(re.findall(r"\bECOMMERCE_[A-Z_]+\b", (ROOT / page).read_text())):
        assert f'"{name}"' in code, name


@pytest.mark.parametrize("page", [page for page in PAGES_AND_DECISIONS if page not in PAGES_WITH_OLD_WORDS])
def test_pages_use_the_words_of_the_glossary(page: str):
    for name, text in texts_of(page):
        prose = re.sub(r"`[^`]*`|\([^)\s]*\)", "", prose_of(text))
        assert not OLD_WORDS.findall(prose), name


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_decisions_have_their_form():
    date_and_status = r"Date: \d{4}-\d{2}-\d{2}\. Status: (accepted|superseded by \[\d{4}\]\([\w-]+\.md\))\."
    for path in DECISIONS:
        lines = path.read_text().splitlines()
        assert 10 <= len(lines) <= 30, path.name
        assert lines[0].startswith(f"# {path.name[:4]}. "), path.name
        assert re.fullmatch(date_and_status, lines[2]), path.name
        headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        assert headings == ["Context", "Decision", "Consequences"], path.name


def test_decisions_are_numbered_and_indexed():
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w-]+\.md)\) \| (.*) \| ([\d-]+) \| (.*) \|$", index, re.MULTILINE)
    assert sorted(row[1] for row in rows) == [path.name for path in DECISIONS]
    for number, name, title, date, status in rows:
        lines = (ROOT / "docs" / "decisions" / name).read_text().splitlines()
        assert lines[0] == f"# {number}. {title}"
        assert lines[2] == f"Date: {date}. Status: {status}."


# -- tables of the pages -----------------------------------------------------------------------------------------------


def test_marts_are_those_of_dbt():
    models = {path.stem for path in (ROOT / "include" / "dbt" / "models" / "marts").rglob("*.sql")}
    assert models
    named = [row[0].strip("`") for row in table(README, "Mart", "One row is", "What it answers")]
    assert len(named) == len(set(named))
    assert set(named) == models
    output = next(block for block in blocks(README, "text") if block.startswith("Starting the stack"))
    shown = set(re.findall(r"^  (\w+) +[\d,]+$", output, re.MULTILINE))
    assert shown
    assert shown <= models
    assert "\n  ...\n" in output, "those that are not shown"


def test_connections_variables_and_pools_are_those_of_the_settings():
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    described = {(kind, name.strip("`")) for kind, name, _ in table(PRODUCTION, "What", "Name", "Form")}
    assert described == {
        *(("connection", entry["conn_id"]) for entry in settings["connections"]),
        *(("variable", entry["variable_name"]) for entry in settings["variables"]),
        *(("pool", entry["pool_name"]) for entry in settings["pools"]),
    }


def test_checks_and_their_kinds_are_those_of_the_file():
    checks = yaml.safe_load((ROOT / "include" / "quality" / "checks.yml").read_text())["checks"]
    described = [name for row in table(QUALITY, "Check", "Fails when") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(described) == sorted(checks)
    kinds = {row[0].strip("`") for row in table(QUALITY, "Kind", "Checks", "Its own settings")}
    assert kinds == {check["kind"] for check in checks.values()}


def test_operations_describes_every_table_of_ops():
    ddl = (ROOT / "include" / "sql" / "ops.sql").read_text()
    tables = re.findall(r"create (?:table if not exists|or replace view) ops\.(\w+)", ddl)
    described = [
        re.sub(r"[`()]|\bview\b", "", row[0]).strip() for row in table(OPERATIONS, "Table", "One row is", "Written by")
    ]
    assert tables
    assert sorted(described) == sorted(tables)


def test_picture_has_a_text_for_those_who_cannot_see_it():
    picture = ElementTree.parse(ROOT / "docs" / "flow.svg").getroot()
    title, description = (picture.findtext(f"{{http://www.w3.org/2000/svg}}{name}", "") for name in ("title", "desc"))
    assert title.strip()
    assert description.strip()
    alt = re.search(r"!\[(.+?)\]\(docs/flow\.svg\)", README, re.DOTALL)
    assert alt is not None
    assert len(alt[1]) > 80

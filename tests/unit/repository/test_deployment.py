"""Dockerfile, compose file, .env.example, requirements and settings agree with each other; nothing is started."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from include.demo.settings import read_settings
from include.demo.state import WAREHOUSE_ROLES

ROOT = Path(__file__).parents[3]
#: The services of the Astro CLI's own compose file, which the override may extend.
ASTRO_SERVICES = {"postgres", "scheduler", "dag-processor", "api-server", "triggerer", "db-migration"}
ENV_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile: (instruction, arguments), without comments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1].strip()) for line in text.splitlines() if line.strip()]


def locked(text: str) -> dict[str, tuple[Version, list[str]]]:
    """A requirements file: distribution → its pinned version, and its hashes."""
    found = {}
    lines = text.replace("\\\n", " ").splitlines()
    for line in filter(None, (line.strip() for line in lines if not line.startswith("#"))):
        requirement, *hashes = line.split(" --hash=")
        parsed = Requirement(requirement)
        (specifier,) = parsed.specifier
        assert specifier.operator == "==", f"{requirement} is not pinned"
        assert "*" not in specifier.version, f"{requirement} is not pinned"
        found[parsed.name.lower().replace("_", "-")] = (Version(specifier.version), [text.strip() for text in hashes])
    return found


def pins(name: str) -> dict[str, Version]:
    """A requirements file: distribution → its pinned version."""
    return {package: version for package, (version, _) in locked((ROOT / name).read_text()).items()}


def dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"]]


def override() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.override.yml").read_text())


def env_example() -> dict[str, str]:
    """The variables of `.env.example`, without filling in `${...}`."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {match[1]: match[2].strip("'") for line in lines if (match := ENV_LINE.match(line))}


@pytest.fixture(scope="module")
def settings() -> dict[str, list[dict[str, Any]]]:
    """airflow_settings.yaml, without filling in `${...}`."""
    return yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]


# -- the image ---------------------------------------------------------------------------------------------------------


def test_image_has_one_pinned_base():
    bases = [arguments for instruction, arguments in instructions() if instruction == "FROM"]
    assert len(bases) == 1
    assert re.fullmatch(r"astrocrpublic\.azurecr\.io/runtime:\d+\.\d+-\d+-python-\d\.\d+-base", bases[0])


def test_runtime_has_a_supported_python_and_the_pinned_airflow():
    base = instructions()[0][1]
    python = re.search(r"python-([\d.]+)", base)
    assert python is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(python[1]) in SpecifierSet(project["requires-python"])
    series = re.search(r":(\d+\.\d+)-", base)
    assert series is not None
    airflow = pins("requirements.txt")["apache-airflow"]
    assert airflow in SpecifierSet(f"=={series[1]}.*")
    # The Dockerfile removes exactly the line of the version that the image has already.
    removed = re.findall(r"sed -i '/\^apache-airflow==(.+?) /", (ROOT / "Dockerfile").read_text())
    assert [text.replace("\\", "") for text in removed] == [str(airflow)]


def test_image_checks_the_hash_of_each_package_it_installs():
    """All but Airflow, which the image has: with a hash in the list, pip and uv take no other file."""
    (removal,) = re.findall(r"sed -i '([^']+)' requirements.txt", (ROOT / "Dockerfile").read_text())
    listed = (ROOT / "requirements.txt").read_text()
    cut = subprocess.run(["sed", removal], input=listed, capture_output=True, text=True, check=True).stdout
    expected = locked(listed)
    del expected["apache-airflow"]
    assert locked(cut) == expected


def test_image_installs_from_the_lists_of_packages_only():
    for instruction, arguments in instructions():
        assert not (instruction == "RUN" and re.search(r"\b(pip3?|uv|apt-get|apt|poetry|conda)\b", arguments)), (
            arguments
        )
    text = "\n".join(f"{instruction} {arguments}" for instruction, arguments in instructions())
    assert text.index("COPY packages.txt") < text.index("install-system-packages")
    assert text.index("COPY requirements.txt") < text.index("install-python-dependencies")


def test_manifest_is_built_last_and_not_as_root():
    lines = [f"{instruction} {arguments}" for instruction, arguments in instructions()]
    assert (
        lines[-1]
        == "RUN dbt parse --project-dir include/dbt --profiles-dir include/dbt --profile ecommerce --target airflow"
    )
    assert lines.index("COPY --chown=astro:0 . .") < len(lines) - 1
    assert [line for line in lines if line.startswith("USER")][-1] == "USER astro"


def test_system_packages_are_names_or_comments():
    for line in (ROOT / "packages.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9][a-z0-9.+-]*", line)


def test_build_context_has_what_the_image_needs_and_no_secret():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"}
    assert {".env", ".git", ".stack", ".venv", "include/dbt/target"} <= ignored
    needed = (
        "dags",
        "plugins",
        "include",
        "include/dbt",
        "include/sql",
        "pyproject.toml",
        "requirements.txt",
        "packages.txt",
    )
    assert not ignored & set(needed)
    # What make generates is not in git, so it does not go into the image either.
    generated = [
        line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("include/")
    ]
    assert set(generated) <= ignored


# -- the compose file of the Astro CLI ---------------------------------------------------------------------------------


def test_compose_override_adds_to_the_services_of_the_astro_cli():
    services = override()["services"]
    assert {"scheduler", "dag-processor", "api-server", "triggerer"} <= set(services)
    for name, service in services.items():
        assert (name in ASTRO_SERVICES) != ("image" in service), f"{name}: needs an image, unless it is Astro's"


def test_added_services_are_pinned_and_have_health_checks():
    for name, service in override()["services"].items():
        if name in ASTRO_SERVICES:
            continue
        repository, _, tag = service["image"].partition(":")
        assert re.match(r"\d+\.\d+", tag), f"{name}: {repository} is not pinned"
        assert "airflow" in service["networks"], f"{name} is not on the network of Astro's services"
        if service["restart"] != "no":
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_warehouse_image_is_postgres_17_or_later():
    image = override()["services"]["warehouse"]["image"]
    assert int(image.removeprefix("postgres:").split(".")[0]) >= 17


def test_volumes_are_declared_or_are_files_of_the_project():
    declared = set(override()["volumes"])
    used = set()
    for service in override()["services"].values():
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
            else:
                used.add(source)
    assert used == declared


def test_ports_are_open_to_this_machine_only():
    for service in override()["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_env_example_has_every_variable_that_compose_reads():
    text = (ROOT / "docker-compose.override.yml").read_text().replace("$$", "")
    script = (ROOT / "include" / "docker" / "init_warehouse.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z_]+)", text)) | set(re.findall(r"\$\{?([A-Z_]+)", script))
    assert read <= set(env_example())
    assert {"WAREHOUSE_PASSWORD", "SHOP_PASSWORD", "READER_PASSWORD"} <= read


# -- .env.example ------------------------------------------------------------------------------------------------------


def test_env_example_explains_every_variable_and_has_no_secret():
    explained = False
    for line in (ROOT / ".env.example").read_text().splitlines():
        if not line:
            explained = False
        elif line.startswith("#"):
            explained = True
        else:
            assert ENV_LINE.match(line), line
            assert explained, f"{line} has no comment above it"
    for name, value in env_example().items():
        if name.endswith("PASSWORD"):
            assert value == "", f"{name} has a value"


def test_env_example_variables_use_only_those_above():
    above: set[str] = set()
    for name, value in env_example().items():
        assert set(re.findall(r"\$\{(\w+)", value)) <= above, name
        above.add(name)


def test_env_example_has_every_connection_with_a_known_host(settings: dict[str, list[dict[str, Any]]]):
    variables = env_example()
    connections = {
        name.removeprefix("AIRFLOW_CONN_").lower(): value for name, value in variables.items() if "_CONN_" in name
    }
    assert set(connections) == {entry["conn_id"] for entry in settings["connections"]}
    aliases = override()["services"]["warehouse"]["networks"]["airflow"]["aliases"]
    known = {*override()["services"], *aliases}
    for name, value in connections.items():
        if value.startswith("{"):
            connection = json.loads(value)
            hosts = {connection.get("host"), connection.get("extra", {}).get("bootstrap.servers", "").split(":")[0]}
        else:
            uri = urlsplit(value.replace("${", "").replace("}", ""))
            assert uri.port
            hosts = {uri.hostname}
        inside = {host for host in hosts - {None, ""} if "." not in host}
        assert inside <= known, f"{name} leads to {inside - known}"


def test_shop_connection_names_the_database_of_the_init_script():
    script = (ROOT / "include" / "docker" / "init_warehouse.sh").read_text()
    made = re.findall(r"create database (\w+) owner (\w+)", script)
    uri = urlsplit(env_example()["AIRFLOW_CONN_SHOP_POSTGRES"].replace("${", "").replace("}", ""))
    assert (uri.path.lstrip("/"), uri.username) in made


def test_warehouse_connections_name_the_roles_of_the_init_script():
    script = (ROOT / "include" / "docker" / "init_warehouse.sh").read_text()
    # A preview is no task of Airflow: its role has no connection, and no password until somebody sets one.
    for role in set(WAREHOUSE_ROLES) - {"previewer"}:
        uri = urlsplit(env_example()[f"AIRFLOW_CONN_WAREHOUSE_{role.upper()}"].replace("${", "").replace("}", ""))
        assert (uri.username, uri.password, uri.path) == (role, f"{role.upper()}_PASSWORD", "/warehouse")
        assert f"create role {role} login password :'{role}_password';" in script
        assert f': "${{{role.upper()}_PASSWORD:?set it in .env}}"\n' in script
        assert f"\\getenv {role}_password {role.upper()}_PASSWORD\n" in script
    assert "--set=" not in script.replace("--set=ON_ERROR_STOP=1", "")
    assert "\\connect warehouse\n\\i /srv/roles.sql" in script
    volumes = override()["services"]["warehouse"]["volumes"]
    assert "./include/sql/roles.sql:/srv/roles.sql:ro" in volumes


# -- requirements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-uv.txt"])
def test_each_locked_package_has_hashes(name: str):
    packages = locked((ROOT / name).read_text())
    assert packages
    for package, (_, hashes) in packages.items():
        assert hashes, f"{package} has no hash; run: make lock"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), package


def test_each_install_of_make_requires_hashes():
    installs = re.findall(r".*\bpip install\b.*", (ROOT / "Makefile").read_text())
    assert len(installs) == 2
    for line in installs:
        assert re.search(r"--require-hashes -r requirements-\w+\.txt$", line), line
    # What no list has, as dbt-core's opt-in parser, is not installed as a dependency either.
    assert [line for line in installs if "requirements-dev.txt" in line and "--no-deps" in line]


def test_image_installs_nothing_that_the_list_has_not():
    """Whichever of the two the image's installer calls."""
    lines = [f"{instruction} {arguments}" for instruction, arguments in instructions()]
    installation = next(i for i, line in enumerate(lines) if "install-python-dependencies" in line)
    before = lines[:installation]
    assert "ARG PIP_NO_DEPS=1" in before
    assert "ARG UV_CONFIG_FILE=/tmp/uv.toml" in before
    assert "COPY include/docker/uv.toml /tmp/uv.toml" in before
    assert tomllib.loads((ROOT / "include" / "docker" / "uv.toml").read_text()) == {"pip": {"no-deps": True}}


def test_setup_refuses_other_pythons_in_a_sentence(tmp_path: Path):
    """Those of `requires-python`, and no other; nothing is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for minor in range(8, 18):
        python = tmp_path / f"python3.{minor}"
        # Python itself, but for its version; `-m venv` must not be reached.
        python.write_text(
            f"""#!/bin/sh
            case "$1" in
                -m) exit 1;;
                -c) exec {sys.executable} -c "import sys; sys.version_info = (3, {minor}, 0); $2";;
            esac
            """
        )
        python.chmod(0o755)
        result = subprocess.run(
            ["make", "setup", f"VENV={tmp_path}/venv", f"PYTHON={python}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode != 0
        is_supported = f"3.{minor}" in SpecifierSet(project["requires-python"])
        assert ("Python 3.11, 3.12, 3.13 or 3.14 is needed" in result.stderr) == (not is_supported), result.stderr


@pytest.mark.slow
def test_sbom_has_each_package_of_the_image(tmp_path: Path):
    command = re.search(r"^sbom: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " ").replace("@$(BIN)", str(Path(sys.executable).parent)))
    words[words.index("sbom.json")] = str(tmp_path / "sbom.json")
    subprocess.run(words, cwd=ROOT, check=True, timeout=120)
    sbom = json.loads((tmp_path / "sbom.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    components = {component["name"].lower().replace("_", "-"): component for component in sbom["components"]}
    for package, (version, hashes) in locked((ROOT / "requirements.txt").read_text()).items():
        component = components[package]
        assert component["purl"] == f"pkg:pypi/{package}@{version}"
        (place,) = component["externalReferences"]
        assert {f"sha256:{entry['content']}" for entry in place["hashes"]} == set(hashes)


def test_dependencies_are_pinned_within_their_ranges():
    pinned = pins("requirements.txt")
    for dependency in dependencies():
        assert dependency.name in pinned, f"{dependency.name} is not in requirements.txt; run: make lock"
        assert pinned[dependency.name] in dependency.specifier, f"{dependency}; run: make lock"
    named = {dependency.name for dependency in dependencies()}
    assert {
        "apache-airflow",
        "apache-airflow-providers-postgres",
        "astronomer-cosmos",
        "dbt-core",
        "dbt-postgres",
        "pendulum",
    } <= named
    # dbt-core's opt-in parser downloads a binary; see docs/decisions/0149-dbt-without-its-parser.md.
    assert "dbt-core-experimental-parser" not in pinned


def test_development_requirements_extend_those_of_the_image():
    pinned, development = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: development.get(name) for name in pinned} == pinned
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    for dependency in map(Requirement, groups["dev"]):
        assert development[dependency.name] in dependency.specifier, f"{dependency}; run: make lock"
    assert "pytest" in development
    assert "pytest" not in pinned
    assert "noida-db" not in pinned


# -- airflow_settings.yaml ---------------------------------------------------------------------------------------------


def test_airflow_settings_have_the_form_of_the_astro_cli(settings: dict[str, list[dict[str, Any]]]):
    assert set(settings) == {"connections", "variables", "pools"}
    for connection in settings["connections"]:
        assert set(connection) <= {"conn_id", "conn_type", "conn_uri", "conn_extra", "conn_description"}
        # The CLI uses conn_uri only if there is no conn_type.
        assert ("conn_uri" in connection) != ("conn_type" in connection), connection["conn_id"]
    for variable in settings["variables"]:
        assert set(variable) == {"variable_name", "variable_value", "variable_description"}
        json.loads(variable["variable_value"])
    for pool in settings["pools"]:
        assert set(pool) == {"pool_name", "pool_slot", "pool_description"}
        assert isinstance(pool["pool_slot"], int)


def test_airflow_settings_have_no_secret_of_their_own():
    text = (ROOT / "airflow_settings.yaml").read_text()
    without_default = re.findall(r"\$\{(\w+)\}", text)
    assert without_default
    assert all(name.endswith("_PASSWORD") or name == "NAME" for name in without_default)
    filled = read_settings(ROOT / "airflow_settings.yaml", dict.fromkeys(without_default, "s3cret"))
    for connection in filled["connections"]:
        assert "${" not in json.dumps(connection)
        if uri := connection.get("conn_uri"):
            parts = urlsplit(uri)
            assert parts.hostname
            assert parts.scheme in ("postgres", "http", "https")
            assert parts.password in (None, "s3cret"), connection["conn_id"]
        if extra := connection.get("conn_extra"):
            json.loads(extra)


# -- the repository ----------------------------------------------------------------------------------------------------


def test_tracked_files_name_no_path_of_one_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = re.compile(rf"{re.escape(str(ROOT))}/|(?<![\w./-])/(?:home|Users|root)/\w")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            found = home.search(path.read_text(errors="replace"))
            assert not found, f"{name}: {found and found[0]}"

"""The image on Airflow's own one, and the Helm values, agree with the rest; nothing is built or started."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from include.demo.state import ROOT

DEPLOY = ROOT / "deploy"


def dockerfile() -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())


# -- the images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["Dockerfile", "deploy/docker/Dockerfile"])
def test_hadolint_has_nothing_to_say(path: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--no-color", path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_hadolint_finds_a_mistake(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install requests\n")
    hadolint = Path(sys.executable).with_name("hadolint")
    config = ["--config", str(ROOT / ".hadolint.yaml")]
    found = subprocess.run([hadolint, *config, str(bad)], capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert {"DL3006", "DL3013", "DL3042"} <= set(re.findall(r"DL\d{4}", found.stdout))


def test_image_has_the_pinned_airflow_and_all_packages_with_hashes(values: dict[str, Any]) -> None:
    base, *rest = dockerfile()
    assert re.fullmatch(rf"FROM apache/airflow:{re.escape(locked('apache-airflow'))}-python3\.1[1-4]", base)
    assert values["airflowVersion"] == locked("apache-airflow")
    installs = [line for line in rest if "pip install" in line]
    assert installs == ["RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt"]
    # As in the other image: the manifest is built last, by the same command.
    other = (ROOT / "Dockerfile").read_text().strip().splitlines()[-1]
    assert rest[-1] == other
    assert not any(line.startswith("USER") for line in rest), "the image's own user is not root"


# -- the Helm values ---------------------------------------------------------------------------------------------------


def test_values_name_each_connection_and_variable_of_the_settings(values: dict[str, Any]) -> None:
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    secrets = {entry["envName"]: entry["secretKey"] for entry in values["secret"]}
    assert {name: key for name, key in secrets.items() if name.startswith("AIRFLOW_CONN_")} == {
        f"AIRFLOW_CONN_{entry['conn_id'].upper()}": entry["conn_id"] for entry in settings["connections"]
    }
    given = {entry["name"]: entry["value"] for entry in values["env"]}
    for variable in settings["variables"]:
        value = given[f"AIRFLOW_VAR_{variable['variable_name'].upper()}"]
        assert json.loads(value) == json.loads(variable["variable_value"])
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    for pool in settings["pools"]:
        assert f"airflow pools set {pool['pool_name']} {pool['pool_slot']}" in page
    # What has to be there before is on the page, and no password is in the values.
    named = {entry["secretName"] for entry in values["secret"]} | {
        value for key, value in {**values, **values["data"]}.items() if key.endswith("SecretName")
    }
    assert len(named) == 6
    assert all(name in page for name in named)


def test_values_keep_the_settings_that_the_figures_are_of(values: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "speed.md").read_text()
    measured = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([\d.]+) \|", page, re.MULTILINE))
    found = {
        f"{section}.{key}": str(value) for section, keys in values["config"].items() for key, value in keys.items()
    }
    assert len(measured) >= 5
    assert {name: found[name] for name in measured} == measured


def test_pods_have_room_for_what_was_measured(values: dict[str, Any]) -> None:
    def mebibytes(text: str) -> float:
        number, unit = re.fullmatch(r"([\d.]+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
        return float(number) * {"Mi": 1, "Gi": 1024}[unit]

    idle = re.search(r"and ([\d.]+) GiB\s*\(proportional set size", (ROOT / "docs" / "speed.md").read_text())
    assert idle is not None
    resources = [values[name]["resources"] for name in ("scheduler", "triggerer", "dagProcessor", "apiServer")]
    requested = sum(mebibytes(entry["requests"]["memory"]) for entry in resources)
    assert requested > 1.5 * float(idle[1]) * 1024
    for entry in resources:
        assert mebibytes(entry["limits"]["memory"]) >= 2 * mebibytes(entry["requests"]["memory"])


def test_statsd_exporter_of_the_chart_has_the_mappings(values: dict[str, Any]) -> None:
    mappings = yaml.safe_load((DEPLOY / "statsd_exporter" / "mapping.yml").read_text())["mappings"]
    assert values["statsd"]["extraMappings"] == mappings


@pytest.mark.helm_chart
def test_values_follow_the_schema_of_the_chart(values: dict[str, Any]) -> None:
    """The chart is not in the repository: it is Airflow's, and has its own releases."""
    # The chart, unpacked: `helm pull apache-airflow/airflow --version 1.22.0 --untar`.
    folder = Path(os.environ["AIRFLOW_HELM_CHART"])
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    assert f"--version {chart['version']}" in (DEPLOY / "helm" / "values.yaml").read_text()
    schema = json.loads((folder / "values.schema.json").read_text())
    defaults = yaml.safe_load((folder / "values.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(merged(defaults, values))
    assert list(unknown(values, defaults)) == []


def merged(defaults: Any, values: Any) -> Any:
    """As Helm merges the values of a user into those of a chart."""
    if not (isinstance(defaults, dict) and isinstance(values, dict)):
        return values
    return {**defaults, **{name: merged(defaults.get(name), value) for name, value in values.items()}}


def unknown(values: dict[str, Any], defaults: dict[str, Any], path: str = "") -> Any:
    """Values that the chart has no default of, and so most likely does not read; `config` takes any setting."""
    for name, value in values.items():
        if name not in defaults:
            yield path + name
        elif isinstance(value, dict) and defaults[name] and name != "config":
            yield from unknown(value, defaults[name], f"{path}{name}.")

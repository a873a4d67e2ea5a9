"""The dbt project by its manifest: everything that dbt lets one describe is, and the house rules hold."""

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.verify.scratch import AGGREGATES

Node = dict[str, Any]

#: Sections of the manifest that hold what people wrote; `nodes` are models and data tests.
DESCRIBED = ("nodes", "sources", "macros", "exposures", "unit_tests")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Node]]:
    """What dbt makes of the project, warnings being errors: it warns of arguments that a macro does not take."""
    target = tmp_path_factory.mktemp("target")
    parsed = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "--quiet", "--warn-error", "parse",
         "--target-path", str(target), "--log-path", str(target)],
        cwd=DBT_PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert parsed.returncode == 0, parsed.stdout
    return json.loads((target / "manifest.json").read_text())


def own(manifest: dict[str, dict[str, Node]], section: str, kind: str | None = None) -> dict[str, Node]:
    """The project's own entries of a section, dbt's and hooks left out: unique id → entry."""
    found = {
        name: entry
        for name, entry in manifest[section].items()
        if entry["package_name"] == "ecommerce"
        and entry["resource_type"] != "operation"
        and kind in (None, entry["resource_type"])
    }
    assert found, f"no {kind or section}"
    return found


def texts(name: str, entry: Node) -> Iterator[tuple[str, str]]:
    """Everything of an entry that can be described, with its description."""
    yield name, entry["description"] or ""
    if "source_description" in entry:
        yield f"source {entry['source_name']}", entry["source_description"]
    for column in entry.get("columns", {}).values():
        yield f"{name}.{column['name']}", column["description"]
    for argument in entry.get("arguments", []):
        yield f"{name}({argument['name']})", argument["description"] or ""


@pytest.mark.parametrize("section", DESCRIBED)
def test_everything_is_described(manifest, section: str) -> None:
    silent = {
        what
        for name, entry in own(manifest, section).items()
        for what, description in texts(name, entry)
        if not description.strip()
    }
    assert silent == set()


def test_models_and_sources_name_their_columns(manifest) -> None:
    """Which columns these must be, the catalog says: tests/integration/dbt."""
    tables = own(manifest, "nodes", "model") | own(manifest, "sources")
    assert {name for name, entry in tables.items() if not entry["columns"]} == set()


def test_every_doc_block_is_used(manifest) -> None:
    written = "".join(path.read_text() for path in (DBT_PROJECT / "models").rglob("_*.yml"))
    used = set(re.findall(r"doc\(\"(\w+)\"\)", written))
    assert {entry["name"] for entry in own(manifest, "docs").values()} - {"__overview__"} == used


#: Layer → what its models may read.
BELOW = {
    "staging": {"source", "staging"},
    "core": {"staging", "core"},
    "marts": {"core"},
    "quality": {"source", "quality"},
}


def layer(model: Node) -> str:
    return str(model["fqn"][1])


def is_claim(model: Node) -> bool:
    """What a build is to rebuild: no data, so every incremental model may read it."""
    return str(model["name"]).startswith("stg_claimed_")


def test_layers_read_the_one_below(manifest) -> None:
    models = own(manifest, "nodes", "model")
    for name, model in models.items():
        for parent in model["depends_on"]["nodes"]:
            if parent in models and is_claim(models[parent]):
                assert model["config"]["materialized"] == "incremental", f"{name} reads {parent}"
                continue
            below = layer(models[parent]) if parent in models else "source"
            assert below in BELOW[layer(model)], f"{name} reads {parent}"


def test_aggregates_are_named_as_the_verification_finds_them(manifest) -> None:
    """It builds what is made of core alone from the core that is there, and the rest of core from raw."""
    models = own(manifest, "nodes", "model")
    made_of_core = {
        model["name"]
        for model in models.values()
        if layer(model) == "core"
        and {
            layer(models[parent]) if parent in models else "source"
            for parent in model["depends_on"]["nodes"]
            if not (parent in models and is_claim(models[parent]))
        }
        == {"core"}
    }
    core = {model["name"] for model in models.values() if layer(model) == "core"}
    assert made_of_core == set(fnmatch.filter(core, AGGREGATES))
    assert len(made_of_core) > 3


def test_a_core_or_mart_model_opens_with_its_grain(manifest) -> None:
    for name, model in own(manifest, "nodes", "model").items():
        if layer(model) != "staging":
            assert model["raw_code"].startswith("-- Grain: one row per "), name


def test_a_mart_has_a_contract_a_key_a_unit_test_and_someone_who_looks_at_it(manifest) -> None:
    exposed = {node for exposure in own(manifest, "exposures").values() for node in exposure["depends_on"]["nodes"]}
    tested = {node for test in own(manifest, "unit_tests").values() for node in test["depends_on"]["nodes"]}
    for name, model in own(manifest, "nodes", "model").items():
        if layer(model) != "marts":
            continue
        assert model["config"]["contract"]["enforced"], name
        (key,) = (rule["columns"] for rule in model["constraints"] if rule["type"] == "unique")
        assert set(key) <= set(model["columns"]), name
        assert list(model["columns"])[: len(key)] == key, f"the key comes first in {name}"
        assert name in exposed
        assert name in tested


def test_no_model_reads_the_wall_clock(manifest) -> None:
    clock = re.compile(r"\b(now\(\)|current_(date|time|timestamp)|local(time|timestamp)|clock_timestamp)\b", re.I)
    for name, model in own(manifest, "nodes", "model").items():
        assert not clock.search(model["raw_code"]), name

"""The dbt projects of the benchmark: the product's own, and synthetic ones of a given size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ecommerce.build.dbt_project import DBT_PROJECT

#: The number of models on each level of a block of ten.
LEVELS = (3, 2, 2, 1, 1, 1)
_BLOCK = sum(LEVELS)


@dataclass(frozen=True)
class Project:
    """
    A dbt project and the name of its profile.

    :param label: its name in tables and in DAG ids
    """

    label: str
    folder: Path
    profile: str


PRODUCT = Project("product", DBT_PROJECT, "ecommerce")


def write_synthetic(folder: Path, nodes: int) -> Project:
    """
    Write a project of so many nodes: three models to a test, in blocks of ten models that are six levels deep.

    Views and tables alternate by level; each model reads models of the level before it in its block, a table two, a
    view one: dbt-postgres replaces a model by dropping it with the views on it, and two that drop the same view at once
    would deadlock. The rows are few: the benchmark is about dbt and what runs it, not about the database.
    """
    name = f"synthetic_{nodes}"
    for path, text in _files(name, nodes).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return Project(str(nodes), folder, name)


def _files(name: str, nodes: int) -> dict[str, str]:
    tests = nodes // 4
    models = [_model_at(index) for index in range(nodes - tests)]
    tested = [f"{{name: {name}_{index}, columns: [{{name: id, data_tests: [unique]}}]}}" for index in range(tests)]
    return {
        "dbt_project.yml": (
            f"name: {name}\nprofile: {name}\nconfig-version: 2\nversion: '1.0.0'\nmodel-paths: [models]\n"
            "flags: {send_anonymous_usage_stats: false}\n"
            f"models:\n  {name}:\n"
            + "".join(
                f"    level_{level}: {{+materialized: {'table' if _is_table(level) else 'view'}}}\n"
                for level in range(len(LEVELS))
            )
        ),
        # The same connection as that of the product's profile.
        "profiles.yml": (DBT_PROJECT / "profiles.yml").read_text().replace("ecommerce:", f"{name}:", 1),
        "models/_models.yml": "models:\n" + "".join(f"  - {model}\n" for model in tested),
        **{
            f"models/level_{level}/{name}_{index}.sql": _sql(name, parents)
            for index, (level, parents) in enumerate(models)
        },
    }


def _model_at(index: int) -> tuple[int, list[int]]:
    """The level of a model, and the models that it reads."""
    block, place = divmod(index, _BLOCK)
    level = next(level for level in range(len(LEVELS)) if place < sum(LEVELS[: level + 1]))
    if level == 0:
        return level, []
    first = block * _BLOCK + sum(LEVELS[: level - 1])
    return level, list(range(first, first + min(LEVELS[level - 1], 2 if _is_table(level) else 1)))


def _is_table(level: int) -> bool:
    return level % 2 == 1


def _sql(name: str, parents: list[int]) -> str:
    if not parents:
        return "select id, id % 7 as kind from generate_series(1, 100) as id\n"
    first, *others = (f"{{{{ ref('{name}_{parent}') }}}}" for parent in parents)
    joins = "".join(f"\ninner join {other} as other using (id)" for other in others)
    return f"select id, first.kind from {first} as first{joins}\n"


def nodes_of(project: Project) -> int:
    """The number of nodes of `dbt build` in a run: all but unit tests, which are not among the manifest's nodes."""
    manifest = json.loads((project.folder / "target" / "manifest.json").read_text())
    return sum(node["resource_type"] not in ("analysis", "operation") for node in manifest["nodes"].values())

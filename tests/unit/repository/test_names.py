"""The layout of plugins/: one name for one thing, a folder for each step, and no folders by Airflow's kinds."""

import ast
from collections import defaultdict

from include.demo.state import ROOT

PLUGINS = ROOT / "plugins"
MODULES = sorted(path for path in PLUGINS.rglob("*.py") if path.name != "__init__.py")


#: Names that mean the same in each package.
SAME_MEANING = {"errors"}


def repeated(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: paths for name, paths in places.items() if len(paths) > 1 and name not in SAME_MEANING}


def test_module_names_are_unique() -> None:
    places = defaultdict(list)
    for path in MODULES:
        places[path.stem].append(str(path.relative_to(PLUGINS)))
    assert repeated(places) == {}


def test_names_of_public_classes_are_unique() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PLUGINS)))
    assert repeated(places) == {}


def test_pipeline_has_at_most_two_modules_outside_of_a_step() -> None:
    flat = {path.name for path in (PLUGINS / "ecommerce").glob("*.py")} - {"__init__.py"}
    assert len(flat) <= 2, flat


def test_no_folder_is_named_after_a_kind_of_airflow_object() -> None:
    folders = {path.name for path in PLUGINS.rglob("*") if path.is_dir()}
    assert not folders & {"hooks", "operators", "sensors", "triggers"}

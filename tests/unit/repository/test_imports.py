"""Each module under plugins/ can be the first one that a process imports: no cycle of imports depends on the order.

The layers between the packages are contracts of import-linter (`make lint`); they say nothing about the order of
imports inside one package.
"""

import json
import subprocess
import sys

import pytest

from include.demo.state import ROOT

pytestmark = pytest.mark.slow

#: Imports the libraries once, then each module in a fork: seconds for all modules instead of seconds for each. Which
#: libraries, a fork tells that imports all modules.
IMPORT_EACH_FIRST = """
import importlib, json, os, pkgutil, sys, traceback
import airflow.providers.http.hooks.http, airflow.sdk, airflow.triggers.base
own = {module.name for module in pkgutil.iter_modules(["plugins"])}

def names(folder, prefix=""):
    for module in pkgutil.iter_modules([folder]):
        yield prefix + module.name
        if module.ispkg:
            yield from names(os.path.join(folder, module.name), f"{prefix}{module.name}.")

def in_a_fork(work):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            outcome = work()
        except BaseException:
            outcome = traceback.format_exc()[-2000:]
        with os.fdopen(writing, "w") as pipe:
            pipe.write(outcome)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        outcome = pipe.read()
    os.waitpid(child, 0)
    return outcome

def imported(name):
    importlib.import_module(name)
    return "imported"

def libraries_of_all():
    for name in names("plugins"):
        importlib.import_module(name)
    return json.dumps([name for name in sys.modules if name.partition(".")[0] not in own])

outcome = in_a_fork(libraries_of_all)
for name in json.loads(outcome) if outcome.startswith("[") else ():
    try:
        importlib.import_module(name)
    except ImportError:
        continue  # another module has made it
assert not own & set(sys.modules), "a library has imported a package of this project"
errors = {name: in_a_fork(lambda: imported(name)) for name in names("plugins")}
json.dump(errors, sys.stdout)
"""


def test_each_module_can_be_imported_first() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_FIRST],
        cwd=ROOT,
        env={"PYTHONPATH": "plugins"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr
    outcomes = json.loads(imported.stdout)
    assert {"ecommerce.load.loader", "ecommerce.extract.readers", "dbt_triggerer", "shop_pages"} <= set(outcomes)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "imported"} == {}

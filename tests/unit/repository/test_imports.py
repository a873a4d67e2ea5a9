"""Each module under plugins/ can be the first one that a process imports: no cycle of imports depends on the order.

The layers between the packages are contracts of import-linter (`make lint`); they say nothing about the order of
imports inside one package.
"""

import json
import subprocess
import sys

from include.demo.state import ROOT

#: Imports the libraries once, then each module in a fork: seconds for all modules instead of seconds for each.
IMPORT_EACH_FIRST = """
import json, os, pkgutil, sys, traceback
import airflow.providers.http.hooks.http, airflow.sdk, airflow.triggers.base
import confluent_kafka, cosmos, fastapi, psycopg, pydantic, yaml
own = {"ecommerce", "dbt_triggerer", "shop_pages"}
assert not own & set(sys.modules), "a library has imported a package of this project"

def names(folder, prefix=""):
    for module in pkgutil.iter_modules([folder]):
        yield prefix + module.name
        if module.ispkg:
            yield from names(os.path.join(folder, module.name), f"{prefix}{module.name}.")

errors = {}
for name in names("plugins"):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            __import__(name)
            os.write(writing, b"imported")
        except BaseException:
            os.write(writing, traceback.format_exc()[-2000:].encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        errors[name] = pipe.read()
    os.waitpid(child, 0)
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

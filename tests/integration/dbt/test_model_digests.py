"""The digests of the real project's models, by what dbt has parsed of it."""

import json
import shutil
from pathlib import Path

import pytest

from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.build.model_digests import model_digests
from tests.integration.dbt_runs import parsed_project


@pytest.mark.parametrize(
    ("path", "changed", "same"),
    [
        ("models/marts/finance/revenue_trend.sql", {"revenue_trend"}, {"daily_revenue", "fact_sales"}),
        ("seeds/review_rules.csv", {"review_rules", "order_for_reviews", "rule_compliance_daily"}, {"fact_sales"}),
        ("models/core/fact_customer_events.sql", {"conversion_funnel_daily"}, {"daily_revenue", "fact_sales"}),
        ("macros/materializations.sql", {"dim_date", "daily_revenue", "conversion_funnel_daily"}, set()),
        ("models/docs.md", set(), {"daily_revenue", "fact_sales"}),
    ],
)
def test_change_of_a_file_concerns_what_is_made_by_it(
    tmp_path: Path, path: str, changed: set[str], same: set[str]
) -> None:
    parsed_project().write_manifest(tmp_path / "manifest.json")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    before = model_digests(DBT_PROJECT, manifest)
    assert len(set(before.values())) == len(before) > 60
    project = tmp_path / "dbt"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    assert model_digests(project, manifest) == before
    (project / path).write_text((project / path).read_text() + "\n")
    after = model_digests(project, manifest)
    differing = {name for name in before if after[name] != before[name]}
    assert changed <= differing
    assert not same & differing

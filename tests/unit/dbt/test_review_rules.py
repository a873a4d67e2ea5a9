"""The seed of the rules for orders, beside the macro with their conditions and the page that explains them."""

import csv
import re
from datetime import date
from itertools import combinations
from pathlib import Path

from ecommerce.build import dbt_project
from ecommerce.build.dbt_project import DBT_PROJECT
from tests.metrics_page import sections

SEED = DBT_PROJECT / "seeds" / "review_rules.csv"
MACRO = DBT_PROJECT / "macros" / "review_rules.sql"


def rows() -> list[dict[str, str]]:
    with SEED.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_rule_has_a_condition_and_each_condition_a_rule() -> None:
    conditions = re.findall(r"^    '(\w+)': '", MACRO.read_text(), flags=re.MULTILINE)
    assert len(conditions) == len(set(conditions))
    assert set(conditions) == {row["rule"] for row in rows()}


def test_rules_have_words_an_owner_and_points() -> None:
    for row in rows():
        assert row["description"].strip() == row["description"] != ""
        assert row["owner"]
        assert 0 < int(row["weight"]) <= 100
        # A reason is shown in a list, which is joined by these.
        assert not set(row["description"]) & set(';"{}\\')


def test_rows_of_a_rule_do_not_hold_on_the_same_day() -> None:
    for one, other in combinations(rows(), 2):
        if one["rule"] == other["rule"]:
            (one_from, one_to), (other_from, other_to) = (
                (
                    date.fromisoformat(row["valid_from"] or str(date.min)),
                    date.fromisoformat(row["valid_to"] or str(date.max)),
                )
                for row in (one, other)
            )
            assert one_to <= other_from or other_to <= one_from, one["rule"]


def test_page_of_figures_has_the_values_of_the_rules() -> None:
    table = next(table for table in sections()["order_for_reviews"].tables if table.columns[0] == "Rule")
    shown = {row[0]: (row[2] and float(row[2]), int(row[3] or 0)) for row in table.rows}
    assert shown == {
        row["rule"]: (float(row["threshold"]) if row["threshold"] else None, int(row["weight"])) for row in rows()
    }


def test_changed_rule_is_another_project(tmp_path: Path, monkeypatch) -> None:
    """A claim compares this digest with that of the last build, and rebuilds all after a change."""
    seed = tmp_path / "seeds" / "review_rules.csv"
    seed.parent.mkdir(parents=True)
    monkeypatch.setattr(dbt_project, "DBT_PROJECT", tmp_path)
    seed.write_text(SEED.read_text())
    before = dbt_project.project_digest()
    seed.write_text(SEED.read_text().replace(",0.30,30,", ",0.25,30,"))
    assert dbt_project.project_digest() != before

"""The definitions of the figures: an anchor for each heading, and no links to files that the pages do not have."""

import re
from pathlib import Path

import pytest

from shop_pages import metrics


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "metrics.md"
    path.write_text(
        "# What <b>figures</b> mean\n\n## `daily_revenue`: by day\n\n[Money](../money.md) and [days](#days).\n\n"
        "## Orders and lines\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    )
    monkeypatch.setattr(metrics, "_METRICS", path)
    metrics.metrics_html.cache_clear()
    try:
        return str(metrics.metrics_html())
    finally:
        metrics.metrics_html.cache_clear()


def test_heading_of_a_mart_has_its_name_as_anchor(text: str) -> None:
    assert re.findall(r'<h2 id="([^"]*)">', text) == ["daily_revenue", "orders-and-lines"]


def test_text_has_tables_no_html_of_its_own_and_no_link_to_other_files(text: str) -> None:
    assert "<td>2</td>" in text
    assert "<b>" not in text
    assert '<p>Money and <a href="#days">days</a>.</p>' in text


def test_page_has_the_project_s_definitions() -> None:
    assert "Orders and lines" in metrics.metrics_html()

"""The connections of docs/alerts.md: their secrets are where Airflow hides them."""

import json
import re
from pathlib import Path

from airflow.api_fastapi.logging.decorators import _mask_connection_fields
from airflow.sdk import Connection

DOCS = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()
CONNECTIONS = dict(re.findall(r"^export AIRFLOW_CONN_(\w+)='(.*)'$", DOCS, re.MULTILINE))


def test_docs_have_both_connections_in_the_environment() -> None:
    assert set(CONNECTIONS) == {"ALERTS_WEBHOOK", "ALERTS_EMAIL"}
    assert "connections add" not in re.sub(r"`[^`]*`", "", DOCS)
    for name, account in CONNECTIONS.items():
        assert Connection.from_json(account, conn_id=name.lower()).password


def test_audit_log_has_no_secret_of_the_documented_connections() -> None:
    for name, account in CONNECTIONS.items():
        # As the UI sends it.
        fields = json.loads(account) | {"connection_id": name.lower()}
        fields["extra"] = json.dumps(fields.get("extra", {}))
        logged = json.dumps(_mask_connection_fields(fields))
        assert fields["password"] not in logged

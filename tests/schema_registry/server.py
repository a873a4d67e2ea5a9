"""A small schema registry: it keeps schemas in memory, and answers as Confluent's does."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

#: What Confluent's registry says of a Protobuf schema where its text is asked for; only a compiler could read it.
PROTO_TEXT = 'syntax = "proto3";'


class SchemaRegistryServer:
    """
    Answers on 127.0.0.1 at ``url`` while it is open as a context.

    ``asked`` has the paths of all requests; ``says`` a status and text that every request gets instead of an answer;
    ``user`` name and password that a request needs. Ids begin at ``first_id``.
    """

    def __init__(self, first_id: int = 1) -> None:
        self.asked: list[str] = []
        self.says: tuple[int, str] | None = None
        self.user: tuple[str, str] | None = None
        self._next_id = first_id
        self._schemas: dict[int, dict[str, Any]] = {}
        self._versions: dict[str, list[int]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(lambda path, query: registry._get(path, query))

            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                self._answer(lambda path, query: (200, registry._post(path, said)))

            def _answer(self, answer_of: Any) -> None:
                registry.asked.append(self.path)
                parts = urlparse(self.path)
                path = [unquote(part) for part in parts.path.strip("/").split("/")]
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if registry.says:
                    status, text = registry.says
                elif registry.user and self.headers.get("authorization") != registry._expected():
                    status, text = 401, '{"error_code": 401, "message": "Unauthorized"}'
                else:
                    status, document = answer_of(path, query)
                    text = json.dumps(document)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> SchemaRegistryServer:
        threading.Thread(target=self._server.serve_forever, daemon=True, name="schema registry").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def register(
        self, subject: str, schema: str, kind: str = "AVRO", references: list[dict[str, Any]] | None = None
    ) -> int:
        """
        Add a schema as the next version of a subject; its id.

        :param schema: of Protobuf a `FileDescriptorProto` in base64
        """
        wanted = {"schema": schema, "schemaType": kind, "references": references or []}
        schema_id = next((known for known, held in self._schemas.items() if held == wanted), None)
        if schema_id is None:
            schema_id, self._next_id = self._next_id, self._next_id + 1
            self._schemas[schema_id] = wanted
        versions = self._versions.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def _expected(self) -> str:
        name, password = self.user or ("", "")
        return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"

    def _post(self, path: list[str], said: dict[str, Any]) -> dict[str, Any]:
        schema_id = self.register(path[1], said["schema"], said.get("schemaType", "AVRO"), said.get("references"))
        return {"id": schema_id, "subject": path[1], "version": self._versions[path[1]].index(schema_id) + 1} | said

    def _get(self, path: list[str], query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match path:
            case ["schemas", "ids", number]:
                schema_id = int(number)
                if schema_id not in self._schemas:
                    return 404, {"error_code": 40403, "message": f"Schema {schema_id} not found"}
                return 200, self._shown(schema_id, query)
            case ["subjects", subject, "versions", version]:
                held = self._versions.get(subject)
                if held is None:
                    return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
                schema_id = held[int(version) - 1]
                return 200, self._shown(schema_id, query) | {"subject": subject, "version": int(version)}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _shown(self, schema_id: int, query: dict[str, str]) -> dict[str, Any]:
        shown = {"id": schema_id} | self._schemas[schema_id]
        if shown["schemaType"] == "PROTOBUF" and query.get("format") != "serialized":
            shown["schema"] = PROTO_TEXT
        # As Confluent's registry has it: Avro is not named.
        return {name: value for name, value in shown.items() if value not in ("AVRO", [])}

"""The one way to reach MySQL and MariaDB: a session by its Airflow connection, with settings of its own."""

from __future__ import annotations

import io
import json
import os
import ssl
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pymysql
from airflow.sdk import BaseHook
from airflow.sdk import Connection as Account
from airflow.sdk.exceptions import AirflowNotFoundException
from pymysql.cursors import SSCursor

from ecommerce.common.connection_watchdog import DEFAULT, VARIABLE
from ecommerce.common.connections import no_connection
from ecommerce.common.errors import SourceError

#: Seconds to reach the server.
CONNECT_TIMEOUT = 20
#: Rows that are taken from the driver at a time.
ROWS_AT_A_TIME = 500
#: Bytes that are read from the server at a time.
BUFFER = 256 * 1024

#: What the server may be set to otherwise, and would change what a row says or how many there are. Zero dates stay
#: readable, so that a row with one can be rejected with its reason; quotes and backslashes mean what MySQL's manual
#: says.
_SETTINGS = (
    "set session time_zone = '+00:00'",
    "set session sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "set session sql_select_limit = 18446744073709551615",
    # The session waits while the warehouse writes, however long that takes.
    # The last two are MariaDB's alone, in a comment that MySQL does not read.
    "set session net_write_timeout = 86400, wait_timeout = 86400"
    " /*M!, idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0 */",
    # With READ COMMITTED, which the server may have as its default, a snapshot would be one of each statement.
    "set session transaction isolation level repeatable read",
)

#: `ssl_mode` as MySQL's own clients know it → whether the certificate is verified, and whether it must name the host.
_TLS_MODES = {"required": (False, False), "verify_ca": (True, False), "verify_identity": (True, True)}

#: Error number → what to do.
_HINTS = {
    1044: "grant SELECT on that database to the connection's user",
    1049: "correct the schema of the connection, or the table in the shop's profile",
    1054: "correct the column's name in the template",
    1064: "correct the template; it is one SELECT in the dialect of the shop's database",
    1142: "grant SELECT on that table to the connection's user",
    1143: "grant SELECT on those columns to the connection's user",
    1146: "correct the table in the shop's profile, or in its template",
    1153: "raise max_allowed_packet of the server, or cut the longest values in a template",
    1317: "someone ended the statement (KILL QUERY); run the task again",
    1969: "the server ended the statement at its max_statement_time; raise that for the connection's user",
    2006: "the server has closed the connection; if it runs, run the task again",
    2013: "the server stopped or closed the connection during the read; if it runs, run the task again",
    3024: "the server ended the statement at its max_execution_time; raise that for the connection's user",
}
_HINT = "see docs/mysql.md"

#: A value begins with its length: one byte if that is less than 251, else 252 and two bytes. 251 alone is null.
_NULL = 251
_LENGTH_BYTES = frozenset([*range(_NULL), 252])

Row = tuple[bytes | None, ...]

T = TypeVar("T")


@contextmanager
def mysql(conn_id: str) -> Iterator[pymysql.Connection]:
    """
    A session by an Airflow connection of the type `mysql`, in autocommit, in UTC, closed at the end.

    All values come as bytes, texts in UTF-8. A server that does not send a byte for as long as the variable
    `ECOMMERCE_ANSWER_TIMEOUT` says (seconds) is given up.

    :raises SourceError: there is no such connection, or the server refuses it
    """
    try:
        account = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise no_connection(conn_id) from error
    try:
        connection = pymysql.connect(**connect_arguments(account))
        try:
            for statement in _SETTINGS:
                execute(connection, statement)
            _enlarge_buffer(connection)
        except BaseException:
            connection.close()
            raise
    except (pymysql.MySQLError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError and ValueError: a way to log in that the driver does not have, or a setting that makes no sense.
        raise SourceError(
            f"cannot connect to MySQL by the connection {conn_id!r}: {in_words(error)}; "
            f"see Admin → Connections → {conn_id}"
        ) from error
    try:
        yield connection
    finally:
        with suppress(pymysql.MySQLError):
            connection.close()


def _enlarge_buffer(connection: Any) -> None:
    """What has come is read at once; between two statements the driver's own buffer is empty."""
    connection._rfile = io.BufferedReader(connection._rfile.detach(), BUFFER)


def connect_arguments(account: Account) -> dict[str, Any]:
    """
    Arguments of PyMySQL's `connect` for an Airflow connection.

    :raises ValueError: the extra has a setting that the reader cannot follow
    """
    extra: Mapping[str, Any] = account.extra_dejson
    charset = str(extra.get("charset", "utf8mb4")).lower()
    if charset not in ("utf8mb4", "utf8mb3", "utf8"):
        raise ValueError(
            f"its extra has the charset {charset}; remove it, since the server sends every text as UTF-8, whatever "
            "character set the column has"
        )
    timeout = float(os.environ.get(VARIABLE) or DEFAULT)
    return {
        "host": account.host,
        "port": account.port or 3306,
        "unix_socket": extra.get("unix_socket"),
        "user": account.login,
        "password": account.password or "",
        "database": account.schema or None,
        "charset": "utf8mb4",
        "use_unicode": False,
        # No conversion: the loader takes texts.
        "conv": {},
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": timeout,
        "write_timeout": timeout,
        "program_name": "ecommerce-warehouse",
        **_tls(extra),
    }


def execute(connection: pymysql.Connection, statement: str) -> Sequence[Row]:
    """All rows of a statement."""
    _fail_if_busy(connection)
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def describe(connection: pymysql.Connection, statement: str) -> Sequence[tuple[Any, ...]]:
    """The result's columns as DB-API describes them: name, type code, …, length at 3, digits after the point at 5."""
    _fail_if_busy(connection)
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.description or ()


def stream(connection: pymysql.Connection, statement: str, kill: Callable[[], None]) -> Iterator[Sequence[Row]]:
    """
    The rows of a statement while the server sends them, some hundred at a time.

    :param kill: ends the statement, if not all rows are taken; the driver would read the rest of them
    """
    return _pieces(connection, statement, kill, lambda cursor: cursor.fetchmany(ROWS_AT_A_TIME))


def stream_lines(connection: pymysql.Connection, statement: str, kill: Callable[[], None]) -> Iterator[list[bytes]]:
    """
    The values of a statement with one column, each a text, while the server sends them.

    :param kill: as of `stream`
    """
    return _pieces(connection, statement, kill, lambda cursor: cursor.fetch_lines(ROWS_AT_A_TIME))


def _pieces(
    connection: pymysql.Connection, statement: str, kill: Callable[[], None], fetch: Callable[[_RowsAsTheyCome], T]
) -> Generator[T]:
    _fail_if_busy(connection)
    cursor = connection.cursor(_RowsAsTheyCome)
    try:
        cursor.execute(statement)
        while piece := fetch(cursor):
            yield piece
    except GeneratorExit:
        kill()
        raise
    finally:
        with suppress(pymysql.MySQLError):
            cursor.close()


def _fail_if_busy(connection: Any) -> None:
    """Fail if rows of another statement are still to come: the driver would throw them away, and only warn."""
    if connection._result is not None and connection._result.unbuffered_active:
        raise RuntimeError("the session with MySQL has not read the result of its last statement to the end")


class _RowsAsTheyCome(SSCursor):
    """PyMySQL's unbuffered cursor, which can be closed also after the connection was lost."""

    connection: Any

    def fetch_lines(self, size: int) -> list[bytes]:
        """
        The next values of a result with one column, at least so many; less at its end, and then none.

        PyMySQL makes an object and a tuple of each row, in 5 µs; here a row is a slice of what has come. What is no
        short row (the end, an error, null, 64 kB), or has not come whole, is left to PyMySQL.
        """
        lines: list[bytes] = []
        connection = self.connection
        while len(lines) < size and self._result.unbuffered_active:
            found, length, number = _whole_lines(self._arrived(), connection._next_seq_id)
            if found:
                lines += found
                connection._rfile.read(length)
                connection._next_seq_id = number
            elif row := self.fetchone():
                lines.append(row[0])
        return lines

    def _arrived(self) -> bytes:
        """What the server has sent, and nobody has read yet; if that is nothing, wait for it."""
        try:
            return self.connection._rfile.peek()
        except OSError as error:
            self.connection.close()
            raise pymysql.OperationalError(2013, f"Lost connection to MySQL server during query ({error})") from error

    def close(self) -> None:
        """Read what the server still sends, if it is there."""
        if self.connection is not None and not self.connection.open:
            if self._result is not None:
                self._result.unbuffered_active = False
            self.connection = None
        super().close()

    __del__ = close


def _whole_lines(block: bytes, number: int) -> tuple[list[bytes], int, int]:
    """
    The rows with which a block begins, as far as they are short and whole: their values, their bytes, the next number.

    :param number: of the first packet; the server counts them
    """
    lines: list[bytes] = []
    begin, size = 0, len(block)
    # A packet's header is three bytes of length and its number; then comes the value, its length before it.
    while begin + 4 < size:
        end = begin + 4 + (block[begin] | block[begin + 1] << 8)
        length = block[begin + 4]
        if end > size or block[begin + 2] or block[begin + 3] != number or length not in _LENGTH_BYTES:
            break
        lines.append(block[begin + 5 : end] if length < _NULL else block[begin + 7 : end])
        number = number + 1 & 255
        begin = end
    return lines, begin, number


def kill_statement(conn_id: str, thread_id: int) -> None:
    """End the statement that a session of the same user runs, if it still runs and the server can be reached."""
    with suppress(SourceError, pymysql.MySQLError), mysql(conn_id) as connection:
        execute(connection, f"kill query {thread_id:d}")


def in_words(error: Exception) -> str:
    """The server's sentence with its error number, and what to do."""
    if len(error.args) < 2:
        return str(error)
    number, text = error.args[:2]
    return f"{text} (error {number}); {_HINTS.get(number, _HINT)}" if number in _HINTS else f"{text} (error {number})"


def name(text: str) -> str:
    """A quoted identifier."""
    return "`" + text.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A quoted text; backslashes are escapes in this session."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _tls(extra: Mapping[str, Any]) -> dict[str, Any]:
    """TLS by the extra's `ssl` (files: ca, cert, key) and `ssl_mode`, in the form of Airflow's own provider."""
    files = extra.get("ssl") or {}
    if isinstance(files, str):
        files = json.loads(files)
    mode = str(extra.get("ssl_mode") or _default_mode(files)).lower().replace("-", "_")
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "preferred":
        return {}
    if mode not in _TLS_MODES:
        raise ValueError(f"its extra has the ssl_mode {mode}; there are disabled, preferred, {', '.join(_TLS_MODES)}")
    is_verified, names_host = _TLS_MODES[mode]
    context = ssl.create_default_context(cafile=files.get("ca"))
    context.check_hostname = names_host
    context.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
    # The certificates that MySQL makes for itself lack what Python's strict mode asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if files.get("cert"):
        context.load_cert_chain(files["cert"], files.get("key"))
    return {"ssl": context}


def _default_mode(files: Mapping[str, Any]) -> str:
    if files.get("ca"):
        return "verify_ca"
    return "required" if files else "preferred"

"""Plain messages are recognized many at once as they are one by one."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ecommerce.common.sources import SOURCES
from ecommerce.extract.kafka_messages import PlainMessages

FIELDS = {"customer_id": "C1", "product_id": "P1", "interaction_type": "view", "timestamp": "2024-03-01T10:00:00"}
PLAIN = json.dumps(FIELDS).encode()

#: What is no plain message, or looks as if it were several, or a part of one beside the next.
OTHERS: list[bytes | None] = [
    None, b"", b" ", b"{}", b"[]", b"{", b"}", b"null", PLAIN + b" ", b" " + PLAIN, PLAIN + PLAIN,
    PLAIN + b"\n" + PLAIN, PLAIN + b" " + PLAIN, PLAIN[:-1], PLAIN[1:],
    PLAIN[:30], PLAIN[30:], PLAIN[:20] + b"}", b"{" + PLAIN[20:],
    PLAIN.replace(b", ", b",\n"), PLAIN.replace(b"C1", b"C\n1"), PLAIN.replace(b"C1", b"}\n{"),
    PLAIN.replace(b"C1", b"\\u0043"), PLAIN.replace(b"C1", b" "), PLAIN.replace(b"C1", b"\t"),
    PLAIN.replace(b"C1", "ü".encode()), PLAIN.replace(b"C1", b"x" * 2_000), PLAIN.replace(b'"C1"', b"1"),
    PLAIN.replace(b'"C1"', b'{"a": "b"}'), PLAIN.replace(b"2024", b"2084"), PLAIN.replace(b"03-01", b"02-30"),
    PLAIN.replace(b"10:00:00", b"10:00:00.1234567"), PLAIN.replace(b"10:00:00", b"10:00:00\n2024-03-01T10:00:00"),
    PLAIN[:-1] + b', "note": "n"}', PLAIN[:-1] + b', "note": {"a": "b"}}', b'{"customer_id": "C1"}',
]  # fmt: skip

values = st.lists(st.one_of(st.just(PLAIN), st.just(PLAIN), st.sampled_from(OTHERS)), max_size=80)


def lines(values: Sequence[bytes | None], together: int) -> list[str | None]:
    """Of each message its line, looked for in so many at a time."""
    plain = PlainMessages(SOURCES["kafka_stream"], set())
    return [line for start in range(0, len(values), together) for line in plain.lines(values[start : start + together])]


@given(values)
def test_many_at_once_are_judged_as_one_by_one(values: list[bytes | None]) -> None:
    assert lines(values, 80) == lines(values, 1)


def test_plain_messages_are_recognized_among_others() -> None:
    sent = [PLAIN] * 40
    assert lines(sent, 40) == ["C1\tP1\tview\t2024-03-01T10:00:00"] * 40
    for other in OTHERS:
        found = lines([*sent[:20], other, *sent[20:]], 41)
        assert [*found[:20], *found[21:]] == ["C1\tP1\tview\t2024-03-01T10:00:00"] * 40

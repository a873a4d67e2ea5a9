"""How texts, JSON and files name a customer, and what is left of them."""

import json
import re
from pathlib import Path

import pytest

from ecommerce.erase.log_files import erase_in_logs
from ecommerce.erase.person import Person

ANNA = Person({"C1": "erased-1"}, names=["Anna Müller-Ö'Hara"], e_mails=["anna@example.org"])
NUMBER = Person({"17": "erased-2"})


def without(text: str, person: Person, *, in_json: bool = False) -> str:
    for mention in person.mentions:
        text = re.sub(mention.pattern_in_json if in_json else mention.pattern, mention.substitute, text)
    return text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("C1", "erased-1"),
        ("C1 and C12, xC1, C1-7", "erased-1 and C12, xC1, erased-1-7"),
        ("called ANNA  MÜLLER-ö'hara today", "called (erased) today"),
        ("Anna Müller-Ö'Haras", "Anna Müller-Ö'Haras"),
        ("<Anna@Example.ORG>", "<(erased)>"),
        ("joanna@example.org", "joanna@example.org"),
    ],
)
def test_text_loses_whole_words_only(text: str, left: str) -> None:
    assert without(text, ANNA) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("17 of 45 rows", "17 of 45 rows"),
        ("customer 17 and customer_id=17, customer 170", "customer erased-2 and customer_id=erased-2, customer 170"),
        ('{"customer_id": "17", "rows": 17}', '{"customer_id": "erased-2", "rows": 17}'),
    ],
)
def test_number_is_a_customer_only_where_a_customer_is_spoken_of(text: str, left: str) -> None:
    assert without(text, NUMBER) == left


def test_json_stays_json() -> None:
    row = {"customer_id": "17", "rows": 17, "message": "customer 17", "other": "17"}
    assert json.loads(without(json.dumps(row), NUMBER, in_json=True)) == {
        "customer_id": "erased-2",
        "rows": 17,
        "message": "customer erased-2",
        "other": "17",
    }
    quoted = Person({}, names=['Anna "A" \\ Müller'])
    text = json.dumps({"note": 'of Anna "A" \\ Müller'}, ensure_ascii=False)
    assert json.loads(without(text, quoted, in_json=True)) == {"note": "of (erased)"}


def test_files_keep_their_length(tmp_path: Path) -> None:
    text = f"C1 C12\n{json.dumps(ANNA.names[0])}\n{ANNA.names[0]}\nANNA@example.org\n"
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "task.log"
    path.write_text(text)
    (tmp_path / "empty.log").touch()
    size = path.stat().st_size
    place = f"log files in {tmp_path}"
    assert erase_in_logs([tmp_path], ANNA, dry_run=True) == {place: 4}
    assert path.read_text() == text
    assert erase_in_logs([tmp_path], ANNA) == {place: 4}
    assert path.stat().st_size == size
    assert re.sub(r"\*+", "*", path.read_text()) == '* C12\n"*"\n*\n*\n'
    assert erase_in_logs([tmp_path], ANNA) == {}

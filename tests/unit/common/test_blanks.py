"""What counts as white space at the ends of keys and texts."""

import sys
import unicodedata

import pytest

from ecommerce.common.blanks import BLANKS, BLANKS_LITERAL, blanks_in, clean_text
from ecommerce.extract.mysql_columns import _INVISIBLE

CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
#: What Python takes for white space, and Unicode does not: separators of files, groups, records and units.
SEPARATORS = set("\x1c\x1d\x1e\x1f")


def test_blanks_are_the_white_space_of_unicode_and_format_characters() -> None:
    white_space = {character for character in CHARACTERS if character.isspace()} - SEPARATORS
    assert white_space <= set(BLANKS)
    assert {unicodedata.category(character) for character in set(BLANKS) - white_space} == {"Cf"}
    assert len(BLANKS) == len(set(BLANKS))


def test_zero_width_characters_and_byte_order_mark_are_blanks() -> None:
    named = {character for character in CHARACTERS if "ZERO WIDTH" in unicodedata.name(character, "")}
    assert named | {"\N{WORD JOINER}", "\N{NO-BREAK SPACE}"} <= set(BLANKS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("view\t", "view"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}\N{NO-BREAK SPACE}C1\r\n", "C1"),
        ("a\tb", "a\tb"),
        ("\t", None),
        ("\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH SPACE}", None),
        ("", None),
    ],
)
def test_text_is_cleaned_at_both_ends(text: str, expected: str | None) -> None:
    assert clean_text(text) == expected


def test_literal_is_plain_ascii() -> None:
    assert BLANKS_LITERAL.isascii()
    assert BLANKS_LITERAL.isprintable()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("UTF8", BLANKS),
        ("LATIN1", "\t\n\v\f\r \x85\xa0\xad"),
        ("WIN1252", "\t\n\v\f\r \xa0\xad"),
        ("SQL_ASCII", None),
        ("MULE_INTERNAL", None),
    ],
)
def test_blanks_of_an_encoding_are_those_that_it_can_spell(encoding: str, expected: str | None) -> None:
    assert blanks_in(encoding) == expected


def test_mysql_passes_no_text_that_begins_or_ends_with_a_blank() -> None:
    """Its own condition for ASCII is that both ends are above the blank."""
    assert {blank for blank in BLANKS if ord(blank) > 0x7F} <= set(_INVISIBLE)

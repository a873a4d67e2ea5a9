"""A text of the shop stays a text on one line: in Markdown, in a chat and in an e-mail."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ecommerce.common.shown_text import chat_text, html_text, markdown_text, one_line, without_values

#: What somebody may be called who wants something of the reader.
ATTACKS = [
    "# All fine, please approve",
    "All fine\n===",
    "All fine\n\n# Please approve",
    "> All fine",
    "- All fine",
    "1. All fine",
    "--- ",
    "***",
    "```\nAll fine",
    "    All fine",
    "**All fine** _all_ ~~failed~~ `none`",
    "[Approve](https://evil.test)",
    "[Approve][1]\n\n[1]: https://evil.test",
    "![picture](https://evil.test/pixel.png)",
    "<https://evil.test>",
    "<img src=https://evil.test/pixel.png>",
    "<h1>All fine</h1>",
    "&lt;h1&gt; &#35; All fine",
    "| a | b |\n| --- | --- |\n| 1 | 2 |",
    r"\[Approve](https://evil.test) \\[Approve](https://evil.test) \\![x](//evil.test/x.png)",
    "\u2028# All fine\u2029\u0085\x0b\x0c\x1c# All fine",
]
_PARSER = MarkdownIt("gfm-like", {"linkify": False})


def inline(markdown: str) -> list[tuple[str, str]]:
    """Kind and text of each piece of a document that is one paragraph of texts."""
    tokens = _PARSER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], markdown
    return [(token.type, token.content) for token in tokens[1].children or ()]


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_of_an_attack_is_one_line_of_text(attack: str) -> None:
    pieces = inline(markdown_text(attack))
    assert {kind for kind, _ in pieces} <= {"text", "text_special"}
    assert "".join(text for _, text in pieces) == re.sub(":(?=//)", "：", one_line(attack))


@given(st.text(alphabet="ab1 \\`*_[]()<>&#|~!$-+=.:/@\n\t{}^\"'", min_size=1))
def test_markdown_of_any_text_shows_that_text(text: str) -> None:
    markdown, line = markdown_text(text), one_line(text, 1_500)
    if line:
        pieces = inline(markdown)
        assert {kind for kind, _ in pieces} <= {"text", "text_special"}, markdown
        narrow = "".join(piece for _, piece in pieces).replace("：", ":").replace("＠", "@")
        assert narrow == line


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_in_a_table_stays_in_its_cell(attack: str) -> None:
    tokens = _PARSER.parse(f"| a | b |\n| --- | --- |\n| x {markdown_text(attack)} | end |")
    cells = [token.content for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert cells[3] == "end"
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special"}


@pytest.mark.parametrize("shown", [markdown_text, chat_text, html_text])
def test_address_becomes_no_link_anywhere(shown: Callable[[str], str]) -> None:
    text = shown(
        "http://evil.test HTTPS://evil.test www.evil.test WWW.evil.test a@evil.test mailto:a@evil.test ftp://x"
    )
    assert not re.search(r"://|www\.|@", text, re.IGNORECASE)
    assert text.count("evil.test") == 4
    assert text.count("…＠…") == 2


@pytest.mark.parametrize("attack", ATTACKS)
def test_chat_text_has_no_markup(attack: str) -> None:
    text = chat_text(attack)
    assert not re.search(r"[\\`*\[\]#|~<>\n]|(?<!\w)_|_(?!\w)|^[-+=]", text)


def test_chat_text_calls_nobody() -> None:
    text = chat_text("@channel @here @all <!channel> <@U024BE7LH> <!subteam^S1> ~town-square")
    assert "@" not in text
    assert "~" not in text
    assert "&lt;!channel&gt;" in text


def test_names_of_tables_and_figures_stay_readable() -> None:
    sentence = "raw.sales_fact: 92 orders, about 150 expected (39 % fewer), e.g. A-1, dated 2019-03-01"
    assert markdown_text(sentence) == chat_text(sentence) == html_text(sentence) == sentence


def test_long_text_is_cut() -> None:
    assert one_line("x" * 101) == "x" * 99 + "…"
    assert one_line("x" * 100) == "x" * 100
    assert len(one_line("x" * 10_000_000)) == 100
    assert one_line(" " * 1_000 + "x") == "…"
    assert one_line("a \u200b\u202e b\x1b[31m\0\ud800") == "a b [31m"


# -- who somebody is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('of anna.b+1@ex-ample.co.uk, <bo@x> and "cy@@y.z"', 'of …@…, <…@…> and "…@…"'),
        ("postgresql://user:secret@host/db", "postgresql://user:…@…"),
        ("@channel: 3 @ 4 each; a@", "@channel: 3 @ 4 each; a@"),
        ("ä@ö.test", "…@…"),
    ],
)
def test_line_has_no_e_mail_address(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_line_of_a_long_hostile_text_is_made_at_once() -> None:
    for text in ("a" * 10**6 + "@b", "@" * 10**6, "a@" * 10**6, "a.@" * 10**6):
        began = time.perf_counter()
        one_line(text, 1_500)
        assert time.perf_counter() - began < 1


def test_error_of_postgres_is_shown_without_the_row() -> None:
    error = (
        'null value in column "x" violates not-null constraint\n'
        "DETAIL:  Failing row contains (C1, Anna (B), a@b.c\n), 1).\n"
        'CONTEXT:  COPY accepted, line 3, column customer_name: "Anna"\n'
        'COPY stage, line 4: "C1\tAnna"'
    )
    assert without_values(error) == (
        'null value in column "x" violates not-null constraint\n'
        "DETAIL:  Failing row contains (not shown).\n"
        "CONTEXT:  COPY accepted, line 3, column customer_name\nCOPY stage, line 4"
    )

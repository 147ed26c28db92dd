from __future__ import annotations

import pytest

from poolmgr.report.folding import folded

RECORD = "- pool.keys.example.org. 300 IN A 198.51.100.116"
WHY = "hazel.example.net: no stats page: refused (connection refused)"
LIMITS = (
    "  pool.keys.example.org A: 5 members (2 to spare, min_members 3); "
    "1 of 6 removed (3 may be, max_removed 50%); 0 added"
)


@pytest.mark.parametrize("width", [*range(56, 130), 200])
@pytest.mark.parametrize("line", ["", "short", f"{RECORD}  ; {WHY}", LIMITS, "word " * 60])
def test_no_piece_is_wider_than_the_terminal_and_no_word_is_lost(line: str, width: int) -> None:
    pieces = list(folded(line, width))
    assert " ".join(pieces).split() == line.split()
    assert all(len(piece) <= width for piece in pieces)
    assert len(pieces) == 1 or len(line) > width


def test_a_record_stays_whole_and_why_follows_it() -> None:
    assert list(folded(f"{RECORD}  ; {WHY}", 80)) == [RECORD, f"    ; {WHY}"]
    assert list(folded(f"{RECORD}  ; {WHY}", 60)) == [
        RECORD,
        "    ; hazel.example.net: no stats page: refused (connection",
        "    refused)",
    ]


def test_limits_break_between_one_and_the_next() -> None:
    assert list(folded(LIMITS, 80)) == [
        "  pool.keys.example.org A: 5 members (2 to spare, min_members 3);",
        "      1 of 6 removed (3 may be, max_removed 50%); 0 added",
    ]


def test_what_has_no_space_is_never_broken() -> None:
    path = "/very" * 20
    assert list(folded(f"zone file {path}: nothing to change", 80)) == [
        "zone file",
        f"    {path}:",
        "    nothing to change",
    ]
    long = f'+ {"label." * 12}example. 300 IN TXT "{"x" * 40}"  ; why'
    assert " ".join(folded(long, 60)).split() == long.split()


def test_a_terminal_of_no_width_gets_forty_columns() -> None:
    assert list(folded("word " * 9, 0)) == ["word word word word word word word word", "    word"]

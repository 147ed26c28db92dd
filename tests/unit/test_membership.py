from __future__ import annotations

import pytest

from poolmgr.crawl.membership import parse_membership
from poolmgr.errors import ParseError
from poolmgr.hosts import parse_host
from poolmgr.model import Peer


def test_peers_come_in_the_files_order_without_comments_and_empty_lines() -> None:
    text = (
        "# my peers\n\nkeys.example.test 11370 # Admin <admin@example.test> 0x1455854896B25036\r\n"
        "\t2001:db8::1\t11370\n 192.0.2.1   11380 \n#gone.example.test 11370\n"
    )
    assert parse_membership(text, "membership") == (
        Peer(parse_host("keys.example.test"), 11370),
        Peer(parse_host("2001:db8::1"), 11370),
        Peer(parse_host("192.0.2.1"), 11380),
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody"])
def test_a_file_without_peers_has_none(text: str) -> None:
    assert parse_membership(text, "membership") == ()


def test_every_bad_line_is_named_with_what_is_wrong() -> None:
    text = "good.example.test 11370\nalone.example.test\nkeys.example.test 0\n\na b c\nno<host> 11370\n\x1b[2J 11370\n"
    with pytest.raises(ParseError) as refused:
        parse_membership(text, "membership")
    assert str(refused.value).split("\n") == [
        "membership:2: a line is a host and its recon port, such as keys.example.org 11370; words in this: 1",
        "membership:3: '0' is no recon port: a number from 1 to 65535, usually 11370",
        "membership:5: a line is a host and its recon port, such as keys.example.org 11370; words in this: 3",
        "membership:6: 'no<host>' is neither an address nor a host name of letters, digits and hyphens",
        r"membership:7: '\x1b[2J' is neither an address nor a host name of letters, digits and hyphens",
    ]

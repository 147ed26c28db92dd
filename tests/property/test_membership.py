from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.crawl.membership import parse_membership
from poolmgr.errors import ParseError
from poolmgr.hosts import host_text
from poolmgr.model import Peer

PEERS = st.builds(Peer, st.ip_addresses(), st.integers(1, 65535))
BLANKS = st.text(" \t", min_size=1, max_size=3)
COMMENTS = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=10)


@given(st.text())
def test_any_text_is_peers_or_refused_with_a_line_for_each_problem(text: str) -> None:
    problems = ""
    try:
        parse_membership(text, "membership")
    except ParseError as error:
        problems = str(error)
    assert problems.isascii()
    assert all(line.startswith("membership:") for line in problems.splitlines())


@given(st.lists(st.tuples(PEERS, BLANKS, COMMENTS)))
def test_peers_are_read_back_whatever_blanks_and_comments_surround_them(
    lines: list[tuple[Peer, str, str]],
) -> None:
    text = "".join(
        f"{blanks}{host_text(peer.host)}{blanks}{peer.recon_port}{blanks}#{comment}\n\n"
        for peer, blanks, comment in lines
    )
    assert parse_membership(text, "membership") == tuple(peer for peer, _, _ in lines)

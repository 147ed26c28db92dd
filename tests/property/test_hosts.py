from __future__ import annotations

import contextlib
import re

from hypothesis import example, given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.hosts import Host, host_order, host_text, parse_host

LABELS = st.from_regex(r"[a-z](?:[a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=5).map(".".join).map(parse_host),
    st.ip_addresses(),
)


@given(st.text() | st.text("ab1.-_:[]%\\", max_size=20))
@example("xn--\u0661.example")
def test_any_text_is_a_host_or_refused_and_a_host_survives_being_written(text: str) -> None:
    with contextlib.suppress(ParseError):
        host = parse_host(text)
        assert parse_host(host_text(host)) == host
        assert re.fullmatch(r"[a-z0-9_.:-]+", host_text(host))


@given(HOSTS, HOSTS)
def test_hosts_sort_alike_only_when_they_are_the_same(one: Host, other: Host) -> None:
    assert (host_order(one) == host_order(other)) == (one == other)

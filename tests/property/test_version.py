from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT
from poolmgr.version import Version

RESTS = st.sampled_from(["", "+", "-beta2", "-rc1", "~unreleased", "-104-gabc", "-9", "beta", " (build x)"])
VERSIONS = st.builds(
    lambda numbers, rest: Version.parse(".".join(map(str, numbers)) + rest),
    st.lists(st.integers(0, 99), min_size=1, max_size=6),
    RESTS | st.text(max_size=8),
)


@given(st.text() | st.text("0123456789.-+~vbeta"))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert Version.parse(text).text == text[:MAX_TEXT]


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_totally_ordered_and_equal_ones_hash_alike(one: Version, two: Version, three: Version) -> None:
    assert sum((one < two, one == two, one > two)) == 1
    assert not (one <= two <= three) or one <= three
    assert one != two or hash(one) == hash(two)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.publish.tsig import TsigKey, parse_key

WORDS = st.sampled_from(
    ["key", "algorithm", "secret", "{", "}", ";", '"', "hmac-sha256", "a" * 24, "//", "/*", "*/", "#", "\n", " ", "x.y"]
)


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_any_text_is_a_key_or_a_parse_error(text: str) -> None:
    try:
        key = parse_key(text, "source")
    except ParseError:
        return
    assert isinstance(key, TsigKey)

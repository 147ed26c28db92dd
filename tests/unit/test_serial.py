from __future__ import annotations

from datetime import UTC, datetime

import pytest

from poolmgr.errors import ZoneError
from poolmgr.zone.serial import Scheme, is_newer, next_serial

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UNIXTIME = 1795435200


@pytest.mark.parametrize(
    ("scheme", "expected"), [(Scheme.DATE, 2026112300), (Scheme.UNIXTIME, UNIXTIME), (Scheme.INCREMENT, 1)]
)
def test_first_serial_of_each_scheme(scheme: Scheme, expected: int) -> None:
    assert next_serial(scheme, NOW, []) == expected


@pytest.mark.parametrize(
    ("scheme", "last", "expected"),
    [
        (Scheme.DATE, [2026112207], 2026112300),
        (Scheme.DATE, [2026112300], 2026112301),
        (Scheme.DATE, [2026112399], 2026112400),
        (Scheme.DATE, [2026112405], 2026112406),
        (Scheme.DATE, [UNIXTIME], 2026112300),
        (Scheme.UNIXTIME, [UNIXTIME - 1], UNIXTIME),
        (Scheme.UNIXTIME, [UNIXTIME], UNIXTIME + 1),
        (Scheme.UNIXTIME, [2026112399], 2026112400),
        (Scheme.INCREMENT, [7], 8),
        (Scheme.INCREMENT, [7, 9, 8], 10),
        (Scheme.INCREMENT, [2**31 - 1], 2**31),
        (Scheme.INCREMENT, [2**32 - 1], 1),
        (Scheme.INCREMENT, [2**32 - 2], 2**32 - 1),
        (Scheme.DATE, [2**32 - 1], 2026112300),
    ],
)
def test_next_serial_is_ahead_of_all_that_were_seen(scheme: Scheme, last: list[int], expected: int) -> None:
    assert next_serial(scheme, NOW, last) == expected
    assert all(is_newer(expected, serial) for serial in last)


def test_serials_that_none_can_follow_are_refused_with_the_remedy() -> None:
    with pytest.raises(ZoneError, match=r"newer than all of 1, 1500000000, 3000000000.*RFC 1982"):
        next_serial(Scheme.INCREMENT, NOW, [1, 1_500_000_000, 3_000_000_000])


def test_half_the_circle_apart_neither_is_newer() -> None:
    assert not is_newer(2**31, 0)
    assert not is_newer(0, 2**31)
    assert is_newer(2**31 - 1, 0)
    assert is_newer(0, 2**32 - 1)

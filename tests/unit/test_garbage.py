"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from poolmgr.garbage import uncollected


@pytest.fixture(params=[True, False])
def was_enabled(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_no_garbage_is_looked_for_in_the_block_alone(was_enabled: bool) -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is was_enabled


def test_after_an_error_it_is_as_before(was_enabled: bool) -> None:
    with pytest.raises(ZeroDivisionError), uncollected():
        _ = 1 / 0
    assert gc.isenabled() is was_enabled

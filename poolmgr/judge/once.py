"""What several policies, or pools, need of one crawl is worked out once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import is_
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[P, T]) -> Callable[P, T]:
    """Return `make`, which gives its last result again while it is asked with the very same objects.

    They must be such that nobody changes, and so must the result; it takes positional arguments only. Equal objects
    that are not the same are worked out anew: to compare crawls would take longer.
    """
    last: tuple[tuple[object, ...], T] | None = None

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal last
        known = last
        if known is None or len(known[0]) != len(args) or not all(map(is_, known[0], args)):
            last = known = (args, make(*args, **kwargs))
        return known[1]

    return made

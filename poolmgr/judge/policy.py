"""What the rules are asked with, whatever the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from poolmgr.judge.freshness import Window
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Outcome
from poolmgr.pools import Overrides
from poolmgr.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked of every keyserver, whatever the pool.

    `minimum_versions` has the software (lower case) that may serve at all, each with its oldest version.
    `max_keys_behind` and `max_keys_ahead` are keys off the cohort's reference. A cohort is judged by itself where at
    least `min_cohort` of its keyservers agree within these: more would let the loss of one take others with it.
    Once the cohort's frontier is known for long enough, times count instead of these: `max_lag` behind it (`enter_lag`
    for who comes in), and `max_lead` ahead, unless the count is off by no more than `lag_tolerance` keys.
    `quality` is what is asked of each service. Of a family of which a crawl saw fewer addresses answer than `min_seen`
    (0 to 1) of as many as lately it is not believed. `certificate_warning` is how long before the end of its
    certificate a keyserver is warned of. `steadiness` says how many crawls it takes to come in and to go out; a probe
    that ended as one of `fast_fall` needs no second.
    """

    minimum_versions: Mapping[str, Version] = field(
        default_factory=lambda: {
            "sks": Version.parse("1.1.6"),
            "hockeypuck": Version.parse("2.1.0"),
        }
    )
    max_keys_behind: int = 2000
    max_keys_ahead: int = 2000
    max_lag: timedelta = timedelta(hours=36)
    enter_lag: timedelta = timedelta(hours=24)
    max_lead: timedelta = timedelta(hours=72)
    lag_tolerance: int = 50
    min_cohort: int = 2
    quality: Quality = Quality()
    min_seen: float = 0.5
    certificate_warning: timedelta = timedelta(days=14)
    steadiness: Steadiness = Steadiness()
    fast_fall: frozenset[Outcome] = frozenset({Outcome.WRONG_KEY, Outcome.BAD_TLS})
    exclude: Overrides = Overrides()
    include_only: Overrides = Overrides()

    window: Window = field(init=False, repr=False, compare=False)
    """The freshness rule's part."""

    def __post_init__(self) -> None:
        window = Window(
            self.max_keys_behind,
            self.max_keys_ahead,
            self.min_cohort,
            max_lag=self.max_lag,
            enter_lag=self.enter_lag,
            max_lead=self.max_lead,
            tolerance=self.lag_tolerance,
        )
        # It is looked at for every address: once is enough.
        object.__setattr__(self, "window", window)

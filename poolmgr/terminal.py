"""How a crawl goes, on a terminal while it is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from poolmgr.crawl.frontier import Progress, Resolve, Work
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.spider import Crawl
from poolmgr.hosts import host_text
from poolmgr.model import Probe

_SHOWN = 3
"""Lines on what has been under way longest."""
_SLOW = 1.0
"""Seconds from which on something is shown as slow."""


class Screen(Observer):
    """A few lines: keyservers found, probes done, what waits, what has been under way longest, and for how long yet."""

    def __init__(self, plan: Crawl) -> None:
        super().__init__()
        self._bounds = {True: plan.nameservers.timeout.total_seconds(), False: plan.exchange.deadline.total_seconds()}
        self._progress = Progress()
        self._under_way: dict[Work, float] = {}
        self._lock = threading.Lock()

    def progressed(self, progress: Progress) -> None:
        """Remember how far the crawl is."""
        self._progress = progress

    def began(self, work: Work) -> None:
        """Count the time of `work`."""
        with self._lock:
            self._under_way[work] = time.monotonic()

    def ended(self, work: Work) -> None:
        """Forget `work`."""
        with self._lock:
            self._under_way.pop(work, None)

    def __rich__(self) -> Text:
        return Text("\n".join(self.lines(time.monotonic())))

    def lines(self, now: float) -> Iterator[str]:
        """Yield what is to be seen `now`, in seconds of the monotonic clock."""
        progress = self._progress
        yield f"crawling: {progress.names} names found, {progress.probes} probes done, {progress.waiting} waiting"
        with self._lock:
            under_way = sorted(self._under_way.items(), key=lambda entry: entry[1])
        if under_way:
            left = max(began + self._bounds[isinstance(work, Resolve)] for work, began in under_way) - now
            yield f"the {len(under_way)} under way end within {max(left, 0):.0f} s, their deadline"
        for work, began in under_way[:_SHOWN]:
            if now - began >= _SLOW:
                yield f"  {now - began:4.0f} s  {_shown(work)}"


class Refused(Observer):
    """Keeps the beginning of every answer that came and was no good, with its probe, in `heads`."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[tuple[Probe, bytes]] = []

    def exchanged(self, probe: Probe, head: bytes) -> None:
        """Keep what was no good."""
        if head and not probe.is_good:
            self.heads.append((probe, head))


def _shown(work: Work) -> str:
    if isinstance(work, Resolve):
        return f"DNS of {host_text(work.name)}"
    return f"{work.ask} of {work.endpoint} as {host_text(work.host)}"


@contextmanager
def screen(plan: Crawl) -> Iterator[Screen]:
    """Show the crawl that `plan` makes on the terminal that is standard error, until the block ends."""
    shown = Screen(plan)
    with Live(shown, console=Console(stderr=True), transient=True, redirect_stdout=False):
        yield shown

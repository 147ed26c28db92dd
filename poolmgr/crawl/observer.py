"""Looking on while a crawl is made."""

from __future__ import annotations

import threading

from poolmgr.crawl.frontier import Progress, Work
from poolmgr.model import Probe


class Observer:
    """Is told how a crawl goes, and may end it by setting `stop`.

    This one looks away; those that look override what they are interested in. All are called in the crawl's thread.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()

    def progressed(self, progress: Progress) -> None:
        """Hear how far the crawl is, after each result."""

    def began(self, work: Work) -> None:
        """Hear that `work` is under way."""

    def ended(self, work: Work) -> None:
        """Hear that `work` is no longer under way."""

    def exchanged(self, probe: Probe, head: bytes) -> None:
        """Hear how an exchange ended; `head` is the first of what was received: status line, headers, first bytes."""

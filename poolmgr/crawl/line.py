"""Sockets that wait as tasks do, and for no longer than they may."""

from __future__ import annotations

import errno
import io
import math
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from poolmgr.crawl.tasks import give_way, now, wait
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_BUFFER = 16 * 1024
"""Bytes that are read at once: most stats pages."""

Result = TypeVar("Result")


class Line(socket.socket):
    """A TCP socket whose every wait ends at one time, with TimeoutError."""

    _end = math.inf
    _is_joining = False

    def until(self, end: float) -> None:
        """Wait no longer than to `end`, on the clock of `tasks.now`."""
        self._end = end

    def reach(self, address: IPAddress, port: int) -> None:
        """Connect."""
        self.in_time(partial(self._join, (str(address), port)), select.POLLOUT)

    def in_time(self, attempt: Callable[[], Result], waits_for: int = select.POLLIN) -> Result:
        """Return what `attempt` gives as soon as the socket lets it.

        It is tried first and waited for afterwards: what can be done at once mostly can, and what came in time counts
        although this process comes to it late. One that sends without end gets no more than its turn at a time.
        """
        if give_way():
            self._left()
        while True:
            with suppress(BlockingIOError):
                return attempt()
            wait((self,), waits_for, self._left())

    def _left(self) -> float:
        left = self._end - now()
        if left <= 0:
            raise TimeoutError
        return left

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of `data`."""
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.in_time(partial(super().send, rest, flags), select.POLLOUT) :]

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return what has come, at least a byte; none at the end."""
        return self.in_time(partial(super().recv, buflen, flags))

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Put into `buffer` what has come, and return how much: at least a byte; none at the end."""
        return self.in_time(partial(super().recv_into, buffer, nbytes or 0, flags))

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:  # type: ignore[override]  # nobody asks for more
        """Return what http.client reads from."""
        return cast("io.BufferedReader", super().makefile("rb", _BUFFER))

    def expect(self) -> None:
        """Wait until something comes: an answer to what was just said is not there yet."""
        wait((self,), select.POLLIN, self._left())

    def _join(self, where: tuple[str, int]) -> None:
        if not self._is_joining:
            self._is_joining = True
            self.connect(where)
            return
        error = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        try:
            self.getpeername()
        except OSError as not_yet:
            raise BlockingIOError from not_yet


Socket = TypeVar("Socket", bound=socket.socket)


def open_socket(kind: type[Socket], version: int, transport: socket.SocketKind) -> Socket:
    """Return a new socket of the class `kind` that never blocks, for IPv4 or IPv6.

    Raises PoolmgrError when this process may not open another one.
    """
    try:
        return kind(socket.AF_INET if version == 4 else socket.AF_INET6, transport | socket.SOCK_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            sentence = f"no further connection can be opened ({error.strerror}): lower crawl.workers or raise ulimit -n"
            raise PoolmgrError(sentence) from error
        raise

"""An SKS membership file: the gossip peers of one keyserver."""

from __future__ import annotations

from poolmgr.crawl.stats import parse_port
from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, parse_host
from poolmgr.model import Peer


def parse_membership(text: str, source: str) -> tuple[Peer, ...]:
    """Return the peers that the membership file `source` lists, in its order.

    A line is ``host port``, the port that of recon; ``#`` starts a comment, and empty lines mean nothing.

    Raises ParseError with a line of its own for every bad line of the file, each with `source` and the line's number.
    """
    peers: list[Peer] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        try:
            peers += [_peer(words)] if words else []
        except ParseError as error:
            problems.append(f"{source}:{number}: {error}")
    if problems:
        raise ParseError("\n".join(problems))
    return tuple(peers)


def _peer(words: list[str]) -> Peer:
    if len(words) != 2:
        raise ParseError(
            f"a line is a host and its recon port, such as keys.example.org 11370; words in this: {len(words)}"
        )
    host, port = words
    recon_port = parse_port(port)
    if recon_port is None:
        raise ParseError(f"{port[:MAX_TEXT]!a} is no recon port: a number from 1 to 65535, usually 11370")
    return Peer(parse_host(host), recon_port)

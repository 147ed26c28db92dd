"""What the tests of crawls stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.crawls import Lab
from tests.lab.hostile import add_good
from tests.lab.mesh import Mesh
from tests.lab.nameserver import Nameserver


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A mesh and a nameserver, both empty and running."""
    with Mesh() as mesh, Nameserver() as nameserver:
        yield Lab(mesh, nameserver)


@pytest.fixture
def good(lab: Lab) -> Lab:
    """Three good keyservers that list a liar, which the test adds."""
    add_good(lab)
    return lab

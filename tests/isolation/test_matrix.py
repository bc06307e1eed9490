"""Three tenants at every door with everything behind it: nobody is told anything of another, whatever they ask."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from matrix.engine import Matrix
from matrix.machine import run
from matrix.subjects import world
from remotes import party
from stack import Stack


@pytest.fixture(scope="module")
def matrix(stack: Stack) -> Iterator[Matrix]:
    with party(stack.remote_ports[0], "matrix") as served:
        made = Matrix(world(stack, served))
        yield made
        made.close()


@pytest.mark.timeout(120)
@pytest.mark.covers("isolation:matrix", "isolation:oracle")
def test_a_slice_of_the_matrix_leaks_nothing(matrix: Matrix) -> None:
    run(matrix, 1_000)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.covers("isolation:matrix", "isolation:oracle")
def test_the_whole_matrix_leaks_nothing(matrix: Matrix, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        run(matrix, int(os.environ.get("TAUSESTACK_MATRIX_OPERATIONS", "100000")))

"""The machine that draws operations, asks them of a matrix, and stops at the first thing that is wrong."""

from __future__ import annotations

import json
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from matrix.engine import TARGETS, Matrix, Operation, Target

BATCH = 30
STEPS = 5


def machine(matrix: Matrix) -> type[RuleBasedStateMachine]:
    """Return the machine that asks of a matrix: each rule is one batch, its lanes side by side."""
    deck = [way for way in matrix.ways for _ in range(max(1, round(50 * way.weight)))]

    def drawn(lane: int, target: Target, sign: bytes) -> Operation:
        way = deck[int.from_bytes(sign[:4], "big") % len(deck)]
        return Operation(lane, target, way, int.from_bytes(sign[4:], "big"))

    # Bytes are drawn evenly, which wide ranges of integers are not.
    sign = st.binary(min_size=12, max_size=12)
    operation = st.builds(drawn, st.integers(0, len(matrix.lanes) - 1), st.sampled_from(TARGETS), sign)

    class Machine(RuleBasedStateMachine):
        @rule(operations=st.lists(operation, min_size=BATCH, max_size=BATCH))
        def ask(self, operations: list[Operation]) -> None:
            wrong = matrix.run(operations)
            assert not wrong, "\n\n".join(wrong[:5])

        @invariant()
        def nothing_is_logged(self) -> None:
            assert not matrix.world.logged()

        @invariant()
        def nothing_of_another_is_heard(self) -> None:
            assert not matrix.heard()

    return Machine


def run(matrix: Matrix, operations: int) -> None:
    """Run the machine until so many operations were asked for."""
    begun = time.monotonic()
    while (left := operations - matrix.asked.total()) > 0:
        run_state_machine_as_test(
            machine(matrix),
            settings=settings(
                max_examples=max(2, left // (BATCH * STEPS)),
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=False,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    seconds = time.monotonic() - begun
    figures = {
        "operations": matrix.asked.total(),
        "seconds": round(seconds, 1),
        "doors": dict(sorted(matrix.asked.items())),
        "targets": dict(sorted(matrix.aimed.items())),
        "compared": matrix.compared,
        "ways": len(matrix.ways),
    }
    print(f"\nmatrix: {json.dumps(figures)}")

"""What the ledger takes of a gateway's speed: calls at 32 concurrent with it on against calls with it off.

Both stacks run at once and are called in turn, round after round, so that a noisy moment meets both.
"""

from __future__ import annotations

import statistics
import sys

import uvloop

from benchmarks.gateways import CALLS, CONCURRENT, ROUNDS, UP, compared, mean_cpu, running, upstream

LEAST = 0.70
"""How much of its speed a gateway keeps at least with the ledger on."""
UNLEDGERED = (sys.executable, "-m", "benchmarks._rig.unledgered")


def main() -> int:
    """Print what calls cost with the ledger on and off, and return 1 where too little of the speed is kept."""
    with upstream() as before, running(UP, before) as on, running(UNLEDGERED, before) as off:
        kept, free = uvloop.run(compared(on, off))
    print(f"{CONCURRENT} calls at once, {ROUNDS} rounds of {CALLS}")
    print(f"{'ledger':<10}{'CPU us':>9}{'p50 us':>9}{'calls/s':>10}")
    for name, rounds in (("on", kept), ("off", free)):
        latency, rate = (
            statistics.median(getattr(figures, what) for figures in rounds) for what in ("latency", "rate")
        )
        print(f"{name:<10}{mean_cpu(rounds):>9.0f}{latency:>9.0f}{rate:>10.0f}")
    share = statistics.median(one.rate / other.rate for one, other in zip(kept, free, strict=True))
    print(f"of its speed it keeps {share:.0%} (CPU: {mean_cpu(free) / mean_cpu(kept):.0%}), bound {LEAST:.0%}")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())

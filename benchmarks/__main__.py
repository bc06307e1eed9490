"""`python -m benchmarks [NAME…]`: run all benchmarks or the named ones."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Run benchmarks: modules of this package whose `main()` prints a table and returns 1 for a missed bound."""
    names = sorted(found.name for found in pkgutil.iter_modules(benchmarks.__path__) if not found.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all without")
    asked = parser.parse_args().names or names
    unknown = sorted(set(asked) - set(names))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    missed: list[str] = []
    for name in asked:
        print(f"# {name}")
        sys.argv = [f"benchmarks.{name}"]  # what else was said is ours
        if importlib.import_module(f"benchmarks.{name}").main():
            missed.append(name)
        print()
    if missed:
        sys.exit(f"missed their bounds: {', '.join(missed)}")


if __name__ == "__main__":
    main()

"""`python -m tools.mutation [NAME…]`: the mutation score, module by module, of what keeps tenants apart.

mutmut changes one thing at a time in each module that pyproject.toml names (`[tool.mutmut] only_mutate`) and runs the
tests that reach it; a change that no test notices has survived. A survivor that nobody could notice stands in
`tools/equivalent_mutants.toml` with the reason, and does not count. Fails where a module is under 95 %, or where an
entry of that file names no survivor. What was found before lies in `.mutation`: where the code changed it is asked
again, where the tests did all of it, or with `--keep` what survived. NAME… are mutants, or patterns of their names, to
be asked again alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks._postgres import postgres

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".mutation"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
LEAST = 95.0
PATIENCE_SECONDS = 45
"""Of a test that a mutant makes hang: it failed."""
SURVIVED, UNTESTED = 0, 33
"""Exit codes that mutmut keeps of a mutant: every test passed, and no test reaches it."""

Change = tuple[str, str, str]
"""A mutant by what it does: the function, the lines that were, the lines that are."""


def main() -> int:
    """Run the mutants and print the scores."""
    parser = argparse.ArgumentParser(description="the mutation score of what keeps tenants apart")
    parser.add_argument("names", nargs="*", help="mutants, or patterns of their names")
    parser.add_argument("--children", type=int, default=2, help="mutants at a time")
    parser.add_argument("--report", action="store_true", help="run nothing: tell what was found before")
    parser.add_argument("--keep", action="store_true", help="the tests became no weaker: what they killed stays killed")
    asked = parser.parse_args()
    _lay_out(keep=asked.keep or asked.report)
    os.chdir(PLACE)
    if not asked.report:
        with postgres() as url:
            _run(asked.children, asked.names, url)
            known = _known()
            survived = [
                name for found in _found().values() for name, code in found.items() if code in {SURVIVED, UNTESTED}
            ]
            again = [name for name in survived if _change(name) not in known]
            if again and not asked.names:
                _run(asked.children, again, url)
    return _told(_found())


def _lay_out(*, keep: bool) -> None:
    """Lay the packages out as mutmut expects them, under one `src`: it takes a module's name from its file's place."""
    PLACE.joinpath("src").mkdir(parents=True, exist_ok=True)
    for link, target in {
        "src/tausestack": "sdk/tausestack",
        "src/tausestack_runtime": "runtime/tausestack_runtime",
        **{name: name for name in ("tests", "benchmarks", "pyproject.toml")},
    }.items():
        place = PLACE / link
        if not place.is_symlink():
            place.symlink_to(ROOT / target)
    # mutmut copies what is there and takes nothing away.
    mutants, kept, digest = PLACE / "mutants", PLACE / "tests.sha256", _digest_of_tests()
    shutil.rmtree(mutants / "tests", ignore_errors=True)
    if not kept.exists() or kept.read_text() != digest:
        mutants.joinpath("mutmut-stats.json").unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(mutants, ignore_errors=True)
        kept.write_text(digest)


def _digest_of_tests() -> str:
    found = hashlib.sha256()
    for path in sorted(ROOT.joinpath("tests").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _run(children: int, names: list[str], url: str) -> None:
    environment = {
        **os.environ,
        "TAUSESTACK_TEST_POSTGRES": url,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": f"-o timeout={PATIENCE_SECONDS}",
    }
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run([mutmut, "run", "--max-children", str(children), *names], check=True, env=environment)  # noqa: S603 our own


def _found() -> dict[str, dict[str, int | None]]:
    """Return what became of each mutant, by module: the exit code of its tests, None where they were not run."""
    with ROOT.joinpath("pyproject.toml").open("rb") as file:
        modules = tomllib.load(file)["tool"]["mutmut"]["only_mutate"]
    return {
        module: json.loads(Path(f"mutants/{module}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]
        for module in modules
    }


def _told(found: dict[str, dict[str, int | None]]) -> int:
    """Print the scores and what survived; return the exit code."""
    known = _known()
    stale, survivors, low = set(known), defaultdict[str, list[str]](list), list[str]()
    sums = [0, 0, 0]
    print(f"{'module':58} {'mutants':>8} {'killed':>7} {'equivalent':>11} {'raw':>7} {'score':>7}")
    for module, codes in found.items():
        equivalent = 0
        for name in (name for name, code in codes.items() if code in {SURVIVED, UNTESTED, None}):
            change = _change(name)
            stale.discard(change)
            equivalent += change in known
            if change not in known:
                survivors[module].append(
                    f"{name}{'' if codes[name] == SURVIVED else ' (no test reaches it)'}\n{_shown(change)}"
                )
        total, left = len(codes), len(survivors[module])
        killed = total - left - equivalent
        score = 100 * killed / (total - equivalent)
        low += [module] if score < LEAST else []
        _line(module.removeprefix("src/"), total, killed, equivalent)
        sums = [have + more for have, more in zip(sums, (total, killed, equivalent), strict=True)]
    _line("all", *sums)
    for one in (one for several in survivors.values() for one in several):
        print(one)
    for module in low:
        print(f"{module} is under {LEAST:.0f} %", file=sys.stderr)
    for function, was, _ in sorted(stale):
        print(f"{EQUIVALENT.name}: no survivor is {function}: {was!r}", file=sys.stderr)
    return 1 if low or stale else 0


def _line(name: str, total: int, killed: int, equivalent: int) -> None:
    raw, score = 100 * killed / total, 100 * killed / (total - equivalent)
    print(f"{name:58} {total:8} {killed:7} {equivalent:11} {raw:6.1f}% {score:6.1f}%")


def _shown(change: Change) -> str:
    return "".join(
        f"    {sign} {line}\n" for sign, part in zip("-+", change[1:], strict=True) for line in part.split("\n")
    )


def _change(name: str) -> Change:
    # It reads its configuration from the working folder when it is imported.
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = list(_changed(get_diff_for_mutant(name)))
    was, becomes = ("\n".join(line for sign, line in lines if sign == wanted) for wanted in "-+")
    module, _, function = name.partition("__mutmut_")[0].rpartition(".")
    return f"{module}.{function.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}", was, becomes


def _changed(diff: str) -> Iterator[tuple[str, str]]:
    for line in diff.splitlines():
        if line[:1] in {"-", "+"} and not line.startswith(("---", "+++")):
            yield line[0], line[1:].strip()


def _known() -> set[Change]:
    """Return the mutants that nobody can notice."""
    with EQUIVALENT.open("rb") as file:
        found: list[dict[str, str]] = tomllib.load(file).get("mutant", [])
    assert all(one["why"] for one in found)
    return {(one["function"], one["was"], one["is"]) for one in found}


if __name__ == "__main__":
    sys.exit(main())

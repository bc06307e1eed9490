"""How commands print: JSON for programs, aligned plain text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]

WIDEST_CELL = 70


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Print rows under the names of their columns, or what there is to say when there are none."""
    if not rows:
        print(empty)
        return
    cells = [list(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        print(f"{name.ljust(width)}  {value if isinstance(value, str) else plain(value)}")


def cell(value: Any) -> str:
    """Return a value as one short line."""
    text = " ".join(plain(value).split())
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…"


def plain(value: Any) -> str:
    """Return a value as text; nothing as a dash, structures as JSON."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

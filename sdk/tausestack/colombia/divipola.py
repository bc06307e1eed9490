"""DIVIPOLA: the official codes and names of Colombia's departments and municipalities (DANE, June 2026)."""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypedDict

_SUPERSEDED = MappingProxyType({"27086": "27493", "94663": "94343"})
"""Codes that earlier documents bear, and what they are now."""


class Departamento(TypedDict):
    """A department; `code` and `name` repeat `codigo` and `nombre`."""

    codigo: str
    nombre: str
    code: str
    name: str


class Municipio(TypedDict):
    """A municipality, island or `area_no_municipalizada` (`tipo`); `code` and `name` repeat `codigo` and `nombre`."""

    codigo: str
    nombre: str
    nombre_comun: str
    departamento_codigo: str
    departamento: str
    tipo: str
    code: str
    name: str


@dataclass(frozen=True)
class _Place:
    code: str
    name: str
    common_name: str
    kind: str
    department_code: str
    department: str

    @property
    def folded(self) -> tuple[str, ...]:
        return tuple({_fold(self.name), _fold(self.common_name)})

    def public(self) -> Municipio:
        return {
            "codigo": self.code,
            "nombre": self.name,
            "nombre_comun": self.common_name,
            "departamento_codigo": self.department_code,
            "departamento": self.department,
            "tipo": self.kind,
            "code": self.code,
            "name": self.name,
        }


def get_departamentos() -> list[Departamento]:
    """Return the 32 departments and Bogotá, D.C., by code."""
    return [
        {"codigo": code, "nombre": name, "code": code, "name": name} for code, name in sorted(_departments().items())
    ]


def get_municipios(departamento: str) -> list[Municipio]:
    """Return a department's municipalities by code; the department by code or name, else `ValueError`."""
    code = find_department(departamento)["codigo"]
    return [place.public() for place in _places() if place.department_code == code]


def find_department(text: str) -> Departamento:
    """Return the one department with a code, a name or a part of a name that no other has, else `ValueError`."""
    wanted = _fold(text)
    every = get_departamentos()
    exact = [one for one in every if wanted in {one["codigo"], _fold(one["nombre"])}]
    starts = [one for one in every if _fold(one["nombre"]).startswith(wanted + " ")]
    within = [one for one in every if f" {wanted} " in f" {_fold(one['nombre'])} "]
    for found in (exact, starts, within):
        if wanted and len(found) == 1:
            return found[0]
    raise ValueError(f"'{text[:80]}' is no department's code or name")


def find_municipality(text: str, department: str | None = None, *, limit: int = 10) -> list[Municipio]:
    """Return municipalities by code or name, best first, whatever the accents, case and punctuation.

    Whole names come before beginnings, those before parts; common names (Cali, Cúcuta) and superseded codes count.
    `department` is a code or a name, else `ValueError`.
    """
    wanted = _fold(text)
    within = None if department is None else find_department(department)["codigo"]
    if not wanted:
        return []
    ranked = [
        (rank, place.code, place)
        for place in _places()
        if within in {None, place.department_code} and (rank := _rank(place, wanted)) is not None
    ]
    return [place.public() for _, _, place in sorted(ranked, key=lambda one: one[:2])[:limit]]


def _rank(place: _Place, wanted: str) -> int | None:
    if _SUPERSEDED.get(wanted, wanted) == place.code or wanted in place.folded:
        return 0
    # "bogota colombia", "cali, valle del cauca": a place with what it lies in.
    if any(wanted in {f"{name} colombia", f"{name} {_fold(place.department)}"} for name in place.folded):
        return 1
    if any(name.startswith(wanted + " ") for name in place.folded):
        return 2
    if any(name.startswith(wanted) for name in place.folded):
        return 3
    return 4 if any(f" {wanted}" in f" {name}" for name in place.folded) else None


def _fold(text: str) -> str:
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9]+", " ", plain).strip()


@cache
def _places() -> tuple[_Place, ...]:
    with files("tausestack.colombia").joinpath("divipola.csv").open(encoding="utf-8") as file:
        return tuple(
            _Place(
                code=row["muni_code"],
                name=row["muni_name"],
                common_name=row["common_name"] or row["muni_name"],
                kind=row["type"],
                department_code=row["dept_code"],
                department=row["dept_name"],
            )
            for row in csv.DictReader(file)
        )


@cache
def _departments() -> MappingProxyType[str, str]:
    return MappingProxyType({place.department_code: place.department for place in _places()})

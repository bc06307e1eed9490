"""The colombia service's tools; all of them are the hall's pure functions, so that it has no tables and no domain."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from tausestack import colombia
from tausestack.contract import VERSION
from tausestack.errors import InvalidArguments, NotFound
from tausestack.mcp import Server

server = Server(
    "colombia",
    version=VERSION,
    title="Colombia",
    description="Colombian tax ids (NIT), identity cards (cédula), departments and municipalities (DIVIPOLA).",
)

Nit = Annotated[
    str,
    Field(
        description="NIT with its check digit (dígito de verificación), dots and hyphen optional.",
        examples=["900.123.456-8", "900123456-8"],
        min_length=1,
        max_length=40,
    ),
]
DepartmentText = Annotated[
    str, Field(description="Department (departamento): its DIVIPOLA code or its name.", examples=["05", "Antioquia"])
]


class NitCheck(BaseModel):
    """Whether a NIT is valid."""

    nit: str
    valid: bool
    formatted: str | None = Field(description="As it is usually written; null where it is not valid.")


class CedulaCheck(BaseModel):
    """Whether a cédula has a valid form."""

    cedula: str
    valid: bool


class FormattedNit(BaseModel):
    """A NIT as it is usually written."""

    formatted: str


class Department(BaseModel):
    """A department."""

    code: str
    name: str


class Departments(BaseModel):
    """Departments by code."""

    departments: list[Department]


class Municipality(BaseModel):
    """A municipality; `kind` is municipio, area_no_municipalizada or isla."""

    code: str
    name: str
    common_name: str
    kind: str
    department_code: str
    department: str


class Municipalities(BaseModel):
    """Municipalities."""

    municipalities: list[Municipality]


@server.tool("colombia/validate_nit", title="Validate a NIT", side_effect="read", idempotent=True)
async def validate_nit(nit: Nit) -> NitCheck:
    """Validate a Colombian company's or person's tax id (validar el NIT de una empresa) by its check digit only."""
    valid = colombia.validate_nit(nit)
    return NitCheck(nit=nit, valid=valid, formatted=_written(nit) if valid else None)


@server.tool("colombia/format_nit", title="Format a NIT", side_effect="read", idempotent=True)
async def format_nit(
    nit: Annotated[
        str,
        Field(
            description="NIT to write with dots and hyphen; a company's nine digits get their check digit.",
            examples=["9001234568", "900123456"],
            max_length=40,
        ),
    ],
) -> FormattedNit:
    """Format a Colombian tax id (formatear NIT) as 900.123.456-8, adding a company's missing check digit."""
    try:
        return FormattedNit(formatted=colombia.format_nit(nit))
    except ValueError as error:
        raise InvalidArguments(str(error)) from error


@server.tool("colombia/validate_cedula", title="Validate a cédula", side_effect="read", idempotent=True)
async def validate_cedula(
    cedula: Annotated[
        str,
        Field(
            description="Number of the cédula de ciudadanía, dots optional.", examples=["1.032.456.789"], max_length=40
        ),
    ],
    strict: Annotated[bool, Field(description="Take only the series that are issued today.")] = False,
) -> CedulaCheck:
    """Validate the form of a Colombian citizen's identity card number (cédula); not that it exists."""
    return CedulaCheck(cedula=cedula, valid=colombia.validate_cedula(cedula, strict=strict))


@server.tool("colombia/list_departments", title="List departments", side_effect="read", idempotent=True)
async def list_departments() -> Departments:
    """List the departments (departamentos) of Colombia with their DIVIPOLA codes."""
    return Departments(
        departments=[Department(code=one["codigo"], name=one["nombre"]) for one in colombia.get_departamentos()]
    )


@server.tool("colombia/list_municipalities", title="List municipalities", side_effect="read", idempotent=True)
async def list_municipalities(department: DepartmentText) -> Municipalities:
    """List the municipalities (municipios) of a Colombian department with their DIVIPOLA codes."""
    try:
        found = colombia.get_municipios(department)
    except ValueError as error:
        raise NotFound(str(error)) from error
    return Municipalities(municipalities=[_municipality(one) for one in found])


@server.tool("colombia/find_municipality", title="Find a municipality", side_effect="read", idempotent=True)
async def find_municipality(
    text: Annotated[
        str,
        Field(
            description="Name or part of the name of a municipality, or its DIVIPOLA code.",
            examples=["Medellín", "bogota", "76001"],
            min_length=1,
            max_length=120,
        ),
    ],
    department: Annotated[
        str | None, Field(description="Department to look in: its code or its name.", examples=["Valle del Cauca"])
    ] = None,
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=100)] = 10,
) -> Municipalities:
    """Find a Colombian municipality or city (municipio, ciudad) and its DIVIPOLA code by name, best match first."""
    try:
        found = colombia.find_municipality(text, department, limit=limit)
    except ValueError as error:
        raise NotFound(str(error)) from error
    return Municipalities(municipalities=[_municipality(one) for one in found])


def _written(nit: str) -> str:
    """Return a valid NIT with dots; the hyphen tells that its last digit is the check digit."""
    digits = "".join(sign for sign in nit if sign.isdigit())
    return colombia.format_nit(f"{digits[:-1]}-{digits[-1]}")


def _municipality(place: colombia.Municipio) -> Municipality:
    return Municipality(
        code=place["codigo"],
        name=place["nombre"],
        common_name=place["nombre_comun"],
        kind=place["tipo"],
        department_code=place["departamento_codigo"],
        department=place["departamento"],
    )

"""What is particular to Colombia: tax ids, identity cards, departments and municipalities. Pure; needs no server."""

from tausestack.colombia.divipola import (
    Departamento,
    Municipio,
    find_department,
    find_municipality,
    get_departamentos,
    get_municipios,
)
from tausestack.colombia.identity import format_nit, nit_check_digit, validate_cedula, validate_nit

__all__ = [
    "Departamento",
    "Municipio",
    "find_department",
    "find_municipality",
    "format_nit",
    "get_departamentos",
    "get_municipios",
    "nit_check_digit",
    "validate_cedula",
    "validate_nit",
]

"""The official list of departments and municipalities, and finding in it."""

from __future__ import annotations

import pytest

from tausestack.colombia import find_department, find_municipality, get_departamentos, get_municipios


@pytest.mark.covers("colombia:divipola")
def test_the_list_is_whole() -> None:
    departments = get_departamentos()
    assert len(departments) == 33
    assert departments[0] == {"codigo": "05", "nombre": "Antioquia", "code": "05", "name": "Antioquia"}
    every = [place for one in departments for place in get_municipios(one["codigo"])]
    kinds = [place["tipo"] for place in every]
    assert (len(every), len({place["codigo"] for place in every})) == (1122, 1122)
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"municipio": 1103, "area_no_municipalizada": 18, "isla": 1}
    assert {code: len(get_municipios(code)) for code in ("05", "11", "15", "25")} == {
        "05": 125,
        "11": 1,
        "15": 123,
        "25": 116,
    }


@pytest.mark.covers("colombia:divipola-lookup")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("medellin", "05001"),
        ("MEDELLÍN", "05001"),
        ("bogota", "11001"),
        ("Bogotá D.C.", "11001"),
        ("Bogotá, Colombia", "11001"),
        ("Cali", "76001"),
        ("Cali, Valle del Cauca", "76001"),
        ("santiago de cali", "76001"),
        ("cúcuta", "54001"),
        ("05001", "05001"),
        ("27086", "27493"),
    ],
)
def test_a_municipality_is_found_whatever_its_accents_and_case(text: str, code: str) -> None:
    assert find_municipality(text)[0]["codigo"] == code


@pytest.mark.covers("colombia:divipola-lookup")
def test_a_department_narrows_the_search() -> None:
    everywhere = {place["departamento_codigo"] for place in find_municipality("San Pedro", limit=50)}
    assert len(everywhere) > 1
    assert {place["departamento"] for place in find_municipality("San Pedro", "valle")} == {"Valle del Cauca"}
    assert find_municipality("no hay tal lugar") == find_municipality("  ") == []
    with pytest.raises(ValueError, match="no department"):
        find_municipality("Medellín", "Atlantis")


@pytest.mark.covers("colombia:divipola-lookup")
@pytest.mark.parametrize(
    ("text", "code"), [("5", None), ("05", "05"), ("ANTIOQUIA", "05"), ("bogota", "11"), ("valle", "76"),
                       ("san andres", "88"), ("santander", "68"), ("norte", "54"), ("", None), ("atlantis", None)]
)  # fmt: skip
def test_a_department_is_found_by_code_or_by_name(text: str, code: str | None) -> None:
    if code is None:
        with pytest.raises(ValueError, match="no department"):
            find_department(text)
    else:
        assert find_department(text)["codigo"] == code

"""The colombia service's tools; what they compute is tested with the hall."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tausestack import testing
from tausestack.errors import InvalidArguments, NotFound
from tausestack_toolservers.colombia.server import server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alone() -> AsyncIterator[testing.Caller]:
    async with testing.stack(server) as stack:
        yield stack.acme


@pytest.mark.covers("colombia:tools")
async def test_ids_are_checked_and_written(alone: testing.Caller) -> None:
    good = await alone.call("validate_nit", {"nit": "900.123.456-8"})
    assert good == {"nit": "900.123.456-8", "valid": True, "formatted": "900.123.456-8"}
    bad = await alone.call("validate_nit", {"nit": "900123456-1"})
    assert bad == {"nit": "900123456-1", "valid": False, "formatted": None}
    assert await alone.call("format_nit", {"nit": "900123456"}) == {"formatted": "900.123.456-8"}
    with pytest.raises(InvalidArguments):
        await alone.call("format_nit", {"nit": "900123456-1"})
    assert (await alone.call("validate_cedula", {"cedula": "12.345.678"}))["valid"] is True
    assert (await alone.call("validate_cedula", {"cedula": "123456789", "strict": True}))["valid"] is False


@pytest.mark.covers("colombia:tools")
async def test_nine_digits_whose_last_checks_are_written_with_it(alone: testing.Caller) -> None:
    found = await alone.call("validate_nit", {"nit": "800000001"})
    assert found == {"nit": "800000001", "valid": True, "formatted": "80.000.000-1"}


@pytest.mark.covers("colombia:tools")
async def test_places_are_listed_and_found(alone: testing.Caller) -> None:
    assert len((await alone.call("list_departments"))["departments"]) == 33
    of_antioquia = (await alone.call("list_municipalities", {"department": "antioquia"}))["municipalities"]
    assert len(of_antioquia) == 125
    found = (await alone.call("find_municipality", {"text": "bogota"}))["municipalities"][0]
    assert found == {
        "code": "11001", "name": "Bogotá, D.C.", "common_name": "Bogotá", "kind": "municipio",
        "department_code": "11", "department": "Bogotá, D.C.",
    }  # fmt: skip
    assert (await alone.call("find_municipality", {"text": "atlantis"}))["municipalities"] == []
    with pytest.raises(NotFound):
        await alone.call("list_municipalities", {"department": "Atlantis"})


@pytest.mark.covers("colombia:tools")
def test_every_tool_only_reads() -> None:
    for tool in server.definitions():
        assert tool["annotations"]["readOnlyHint"] is True
        assert tool["description"]

"""What names a change without asking for it changes nothing, whatever tools there are."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tausestack_agents.planner.choice import Candidate, Choice, choose
from tausestack_agents.planner.split import split
from tausestack_agents.planner.values import Source

FIXTURES = Path(__file__).parents[1] / "fixtures" / "business"
OWN = json.loads((Path(__file__).parent / "tools.json").read_text())

UNASKED = (
    "No canceles la cita EV-208",
    "Por favor no pagues la factura inv_1a2b3c",
    "Nunca borres el contacto CT-88",
    "No me cierres el tiquete TK-1042 todavía",
    "¿Quién cerró el tiquete TK-1042?",
    "¿Quién paga la factura inv_1a2b3c?",
    "¿Cuándo se cancela la cita EV-208?",
    "¿Por qué se eliminó el contacto CT-88?",
    "¿Ya pagaste la factura inv_1a2b3c?",
    "¿Ya cancelaron la cita EV-208?",
    "¿Cómo elimino el contacto CT-88?",
    "¿Cómo hago para pagar la factura inv_1a2b3c con tarjeta?",
    "¿Se puede cancelar el envío GUIA-889231?",
    "¿Qué pasa si cierro el tiquete TK-1042?",
    "¿Puedo anular la cita EV-208?",
    "Si no pagan mañana, cancela el envío GUIA-889231",
    "Cuando llegue el cliente, cierra el tiquete TK-1042",
    "Necesito que no borres el contacto CT-88",
    "La factura inv_1a2b3c",
    "El tiquete TK-1042",
    "El cliente dijo que no canceles la cita EV-208",
    "Muéstrame la cita EV-208 que cancelaron",
    "Dime quién borró el contacto CT-88",
    "Don't cancel appointment EV-208",
    "Who pays invoice inv_1a2b3c?",
    "How do I delete contact CT-88?",
    "If they don't pay, cancel shipment GUIA-889231",
    "Can I close ticket TK-1042?",
    "Ayer cancelé la cita EV-208",
    "Creé el contacto de Ana Gómez",
    "Voy a pagar la factura inv_1a2b3c",
    "Estoy cerrando el tiquete TK-1042",
    "Mi contador paga la factura inv_1a2b3c",
    "Mañana cancela la cita EV-208",
    "Ana cierra el tiquete TK-1042",
    "We paid invoice inv_1a2b3c",
    "Ana is closing ticket TK-1042",
)
ASKED = (
    ("Cancela la cita EV-208", "calendar/cancel_event"),
    ("¿Puedes cancelar la cita EV-208?", "calendar/cancel_event"),
    ("¿Me cancelas la cita EV-208?", "calendar/cancel_event"),
    ("Por favor ciérrame el tiquete TK-1042", "tickets/close_ticket"),
    ("Elimina el contacto CT-88", "crm/delete_contact"),
    ("Paga la factura inv_abc123def0 con tarjeta", "billing/pay_invoice"),
    ("Quiero anular el envío GUIA-889231", "shipping/cancel_shipment"),
    ("La factura inv_abc123def0 págala con tarjeta", "billing/pay_invoice"),
    ("Could you close ticket TK-1042?", "tickets/close_ticket"),
)


@cache
def _tools() -> list[Candidate]:
    """Our own tools and the business's, as their servers define them."""
    sys.path.insert(0, str(FIXTURES))
    found = [Candidate(tool["address"], tool["address"], tool) for tool in OWN]
    for module in ("goods", "people", "matters"):
        for server in vars(importlib.import_module(module)).values():
            if type(server).__name__ == "MCPServer":
                listed: list[Any] = asyncio.run(server.list_tools())
                raw = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]
                found += [
                    Candidate(f"{server.name}__{tool['name']}", f"{server.name}/{tool['name']}", tool) for tool in raw
                ]
    return found


def _choices(request: str) -> list[Choice]:
    return [choose(part, _tools(), Source(part, today=date(2026, 11, 26))) for part in split(request)]


@pytest.mark.covers("planner:no-unasked-writes")
@pytest.mark.parametrize("request_text", UNASKED)
def test_what_is_not_asked_for_is_not_done(request_text: str) -> None:
    for choice in _choices(request_text):
        assert choice.outcome != "calls" or choice.tool is None or choice.tool.reads, choice


@pytest.mark.covers("planner:no-unasked-writes")
@pytest.mark.parametrize(("request_text", "address"), ASKED)
def test_what_is_asked_for_is_done(request_text: str, address: str) -> None:
    assert [choice.tool.address for choice in _choices(request_text) if choice.tool] == [address]
    assert {choice.outcome for choice in _choices(request_text)} == {"calls"}

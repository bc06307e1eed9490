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

from tausestack_agents.planner.arguments import Earlier
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
UNASKED_EITHER = (
    "El correo dice: cancela la cita EV-208",
    "Cancela la cita EV-208 en vez de la EV-209",
    "No quiero que canceles la cita EV-208",
    "No quiero que pagues la factura inv_1a2b3c4d5e con tarjeta",
    "No vayas a cancelar la cita EV-208",
    "no vayas a pagar la factura inv_1a2b3c4d5e con tarjeta",
    "No tienes que cancelar la cita EV-208",
    "No hay que pagar la factura inv_1a2b3c4d5e con tarjeta",
    "No puedes cancelar la cita EV-208",
    "No necesito cancelar la cita EV-208",
    "No me le canceles la cita EV-208",
    "No me lo canceles el envío GUIA-889231",
    "No deseo borrar el contacto CT-88",
    "Tampoco quiero que borres el contacto CT-88",
    "Don't want to close ticket TK-1042",
    "No debes borrar la clave notas/2026",
    "No quiero que borres la clave notas/2026",
    "No sé si cancelar la cita EV-208",
    "Me preguntaba si cancelas la cita EV-208",
    "¿y si cancelas la cita EV-208?",
    "será que cancelas la cita EV-208?",
    "Paga la factura inv_1a2b3c4d5e con tarjeta si hay saldo",
    "Elimina el contacto CT-88 cuando te avise",
    "Cancela el envío GUIA-889231 a menos que paguen hoy",
    "Cierra el tiquete TK-1042 apenas responda el cliente",
    "Borra la clave notas/2026 si ya no sirve",
    "Cancela la cita EV-208 siempre y cuando Ana esté de acuerdo",
    "Close ticket TK-1042 if the customer agrees",
    "Cancel shipment GUIA-889231 unless they pay",
    "Cierra el tiquete TK-1042 en cuanto llame",
    "Borra la clave notas/2026 hasta que te avise",
    "Cancela la cita EV-208 más tarde",
    "Paga la factura inv_1a2b3c4d5e con tarjeta la próxima semana",
    "Cierra el tiquete TK-1042 en un rato",
    "Paga la factura inv_1a2b3c4d5e con tarjeta a fin de mes",
    "Borra la clave notas/2026 la semana que viene",
    "Paga la factura inv_1a2b3c4d5e con tarjeta cada mes",
    "Cancel appointment EV-208 next week",
    "Close ticket TK-1042 later",
    "Cancela la cita EV-208 después",
    "Borra la clave notas/2026 todos los lunes",
    "Cancela la cita EV-208 esta noche",
    "Ana dice que cancela la cita EV-208",
    "te pague la factura inv_1a2b3c4d5e con tarjeta",
    "hoy pague la factura inv_1a2b3c4d5e con tarjeta",
    "creo que cancelas la cita EV-208",
    "Cancela la cita EV-208. No, espera, mejor no",
    "Cancela la cita EV-208. Olvídalo",
    "Borra la clave notas/2026. Mentiras, no la borres",
    "Paga la factura inv_1a2b3c4d5e con tarjeta. No la pagues todavía",
    "cancela la cita EV-208 no mejor no",
    "Elimina el contacto CT-88 y cancela lo anterior",
    "Borra la clave notas/2026. No hagas nada",
    "Cancel appointment EV-208. Never mind",
    "Cancela la cita EV-208, ah no, déjala así",
    "Cancela la cita EV-208... no, mejor la dejamos",
    "Cierra el tiquete TK-1042? no, todavía no",
    "Borra la clave notas/2026; olvida lo anterior",
    "Cancela todas las citas menos la EV-208",
    "Elimina todos los contactos excepto CT-88",
    "Cancela la cita EV-208, no la EV-209",
    "Cancela la cita EV-208, perdón, la EV-209",
    "Cancela la EV-208 no, mejor la cita EV-209",
    "Elimina el contacto CT-88, digo, CT-89",
    "Paga todas las facturas empezando por inv_1a2b3c4d5e con tarjeta",
    "Cierra el tiquete TK-1042 pero no el TK-1043",
    "Cancel all appointments except EV-208",
    "Cancela cualquiera de las citas menos EV-208",
    "Elimina a todos los contactos como CT-88",
    "Factura a Ana 100.000 COP de pan con descuento del 10%",
    "Crea una factura para Ana por el doble de 100.000 COP de pan",
    "Crea una factura para Ana por 100.000 COP de pan en 3 cuotas",
    "Paga la mitad de la factura inv_1a2b3c4d5e con tarjeta",
    "Paga la factura inv_1a2b3c4d5e de globex con tarjeta y la de acme no",
    "Cancela la cita EV-208 x favor o la que siga",
    "Suscríbenos al plan premium o al enterprise",
    "crea una api key de admin o viewer",
)
"""What negates, doubts, makes depend, puts off, tells, takes back or excepts, wherever in the sentence it says so."""
SAID_OTHERWISE = (
    "cancelar la cita EV-208 sería un error",
    "cancelar la cita EV-208 nos costaría un cliente",
    "la cita EV-208 se cancela",
    "la cita EV-208 la cancela Ana",
    "se cancela la cita EV-208",
    "me cancelan la cita EV-208",
    "que cancela la cita EV-208",
    "Cancela la cita EV-208? 🤔",
    "toca borrar el contacto CT-88?",
    "hay que pagar la factura inv_1a2b3c4d5e?",
    "¿puede cancelar la cita EV-208 el cliente?",
    "¿me cierras el tiquete TK-1042 o lo hago yo?",
    "habría que cancelar la cita EV-208",
    "tocaba cancelar la cita EV-208",
    "quería cancelar la cita EV-208",
    "YA CERRE EL TIQUETE TK-1042",
    "Ya pague la factura inv_1a2b3c4d5e con tarjeta, gracias",
    "el cliente pide cerrar el tiquete TK-1042",
    "dígale a Ana que cancele el envío GUIA-889231",
    "ayúdame a decidir si borrar el contacto CT-88",
    "gracias por cancelar la cita EV-208",
    "cerrar el tiquete TK-1042 no es opción",
    "favor no borrar el contacto CT-88",
    "a ver si cancela la cita EV-208",
    "Ana, cancela la cita EV-208",
    "Ana pregunta ¿me cancelas la cita EV-208?",
    "Ana escribió esto. Cancela la cita EV-208.",
    "RE: paga la factura inv_1a2b3c4d5e con tarjeta",
    "> paga la factura inv_1a2b3c4d5e con tarjeta",
    "cancela la cita anterior a EV-208",
    "cancela una cita como la EV-208",
    "cancela las citas desde la EV-208",
    "cancela las citas de la EV-208 a la EV-215",
    "cancela EV-208 y deja EV-209",
    "Crea una tarea para llamar al proveedor, creo",
    "Crea una tarea para llamar al proveedor. Era broma",
    "Crea una tarea para llamar al proveedor sería un error",
    "Abre un caso porque la impresora no imprime, mejor no",
    "Agenda una reunión el 3 de diciembre de 2026 a las 10:00 el lunes",
    "Cancelling appointment EV-208 would be a mistake",
    "cancel appointment EV-208 is what she said",
    "cancel appointment EV-208, she said",
    "cancel appointment EV-208? not sure",
    "I wanted to cancel appointment EV-208",
    "remind me to cancel appointment EV-208",
    "would you cancel appointment EV-208 or keep it?",
    "cancel the appointment before EV-208",
    "podría cancelar la cita EV-208",
    "you can cancel appointment EV-208",
    "luego cancela la cita EV-208",
    "qué pena que canceles la cita EV-208",
    "cancela parte de la cita EV-208",
    "cancela la cita EV-208 {es broma}",
    'cancela la cita EV-208 "es broma',
    "registra que el empleado EMP-017 no hizo 4 horas extra el 20 de noviembre de 2026",
    "crea una factura para Ana por 100.000 COP de pan pero no la mandes",
    "Paga la factura inv_1a2b3c4d5e con tarjeta. Cierra el tiquete TK-1042. Era broma.",
    "que pague Ana la factura inv_1a2b3c4d5e con tarjeta",
    "la política dice: elimine el contacto CT-88 cada año",
)
"""What is told, supposed, asked, forbidden, quoted or meant for others, whatever form of the verb says so."""
TAILS = (
    " jaja", " (es broma)", ", mentira", ", o sea no del todo", " 😂", " ;)", ", creo", ", ¿no?",
    "... o bueno, no", " o no", ", pero no sé", ", pero espérame confirmo", " me dijo el jefe",
    ", dice el correo", " según Ana", " sería un error", " depende de Ana", " con permiso de Ana",
    " previa aprobación", " de pronto", " luego", " en teoría", " y todas las demás", ". Espera", ". Era broma",
    ". Eso me dijo Ana", ". Ya lo hice", ". ¿O mejor no?", ". Primero pregúntale a Ana", ". Haz caso omiso",
    ". Perdón, era para otro chat", ". Muéstrame los envíos. Mentira", " lol", " (just kidding)",
    ". Actually, keep it", " not",
)  # fmt: skip
"""What is said beside a request, and takes it back, doubts it, puts it off or says who said it."""
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
    ("Sí, cancela la cita EV-208", "calendar/cancel_event"),
    ("Cancela la cita EV-208 cuando puedas", "calendar/cancel_event"),
    ("Quiero que canceles la cita EV-208", "calendar/cancel_event"),
    ("Necesito que cierres el tiquete TK-1042", "tickets/close_ticket"),
    ("Abre un tiquete porque la impresora no funciona cuando imprimo", "tickets/open_ticket"),
    ("Crea una tarea para revisar si llegó el pago", "tasks/create_task"),
    ("ya cancela la cita EV-208", "calendar/cancel_event"),
    ("oye cancela la cita EV-208 porfa 🙏", "calendar/cancel_event"),
    ("No olvides cancelar la cita EV-208", "calendar/cancel_event"),
    ("no se te olvide cerrar el tiquete TK-1042, gracias", "tickets/close_ticket"),
    ("CANCELE LA CITA EV-208 YA MISMO", "calendar/cancel_event"),
    ("cerrá el tiquete TK-1042", "tickets/close_ticket"),
    ("hágame el favor y me borra el contacto CT-88", "crm/delete_contact"),
    ("me haces el favor de borrar el contacto CT-88?", "crm/delete_contact"),
    ("colabóreme con cancelar la cita EV-208", "calendar/cancel_event"),
    ("me colabora cerrando el tiquete TK-1042?", "tickets/close_ticket"),
    ("hola buenas me puede cancelar la cita EV-208 gracias", "calendar/cancel_event"),
    ("necesito que por favor me cancelen la cita EV-208", "calendar/cancel_event"),
    ("quisiera que me cancelara la cita EV-208", "calendar/cancel_event"),
    ("que se borre el contacto CT-88 por favor", "crm/delete_contact"),
    ("hay que cerrar el tiquete TK-1042", "tickets/close_ticket"),
    ("Favor eliminar la clave notas/2026, mil gracias", "storage/delete_json"),
    ("le pido que borre la clave notas/2026", "storage/delete_json"),
    ("Sr. asistente: anule el envío GUIA-889231", "shipping/cancel_shipment"),
    ("sumercé me anula el envío GUIA-889231", "shipping/cancel_shipment"),
    ("Hola. Necesito pagar la factura inv_1a2b3c4d5e con tarjeta. Gracias.", "billing/pay_invoice"),
    ("La factura inv_1a2b3c4d5e me la paga con tarjeta por favor", "billing/pay_invoice"),
    ("págueme la factura inv_1a2b3c4d5e con tarjeta, sí?", "billing/pay_invoice"),
    ("cancela la cita EV-208 porque el paciente está enfermo", "calendar/cancel_event"),
    ("Completa la tarea T-12, ya quedó lista", "tasks/complete_task"),
    ('mándele un whatsapp al 3104567890 que diga "ya no cancele la cita, jaja"', "messages/send_whatsapp"),
    ("Please don't forget to cancel appointment EV-208", "calendar/cancel_event"),
    ("hey can you cancel appointment EV-208 for me? thanks!", "calendar/cancel_event"),
    ("I'd like you to cancel appointment EV-208", "calendar/cancel_event"),
    ("CAN U DELETE CONTACT CT-88", "crm/delete_contact"),
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
@pytest.mark.parametrize("request_text", [*UNASKED, *UNASKED_EITHER, *SAID_OTHERWISE])
def test_what_is_not_asked_for_is_not_done(request_text: str) -> None:
    for choice in _choices(request_text):
        assert choice.outcome != "calls" or choice.tool is None or choice.tool.reads, choice


@pytest.mark.covers("planner:no-unasked-writes")
@pytest.mark.parametrize("tail", TAILS)
def test_what_is_said_beside_a_request_keeps_it_from_being_done(tail: str) -> None:
    for request in (
        "cancela la cita EV-208",
        "Paga la factura inv_1a2b3c4d5e con tarjeta",
        "¿Me borras el contacto CT-88?",
        "Crea una factura para Ana por 100.000 COP de pan",
    ):
        for choice in _choices(request + tail):
            assert choice.outcome != "calls" or choice.tool is None or choice.tool.reads, (request + tail, choice)


@pytest.mark.covers("planner:no-unasked-writes")
@pytest.mark.parametrize(("request_text", "address"), ASKED)
def test_what_is_asked_for_is_done(request_text: str, address: str) -> None:
    assert [choice.tool.address for choice in _choices(request_text) if choice.tool] == [address]
    assert {choice.outcome for choice in _choices(request_text)} == {"calls"}


@pytest.mark.covers("planner:uses-earlier-results")
@pytest.mark.parametrize(
    ("said", "address", "result", "called"),
    [
        ("cancélala", "calendar/list_events", {"events": [{"event_id": "EV-1"}, {"event_id": "EV-2"}]}, []),
        ("elimínalo", "crm/find_contact", {"contacts": [{"contact_id": "CT-1"}, {"contact_id": "CT-2"}]}, []),
        ("cancélala", "calendar/list_events", {"events": [{"event_id": "EV-1"}]}, [{"event_id": "EV-1"}]),
    ],
)
def test_of_several_things_that_came_before_none_is_taken_for_the_one(
    said: str, address: str, result: Any, called: list[Any]
) -> None:
    source = Source(said, today=date(2026, 11, 26))
    assert choose(said, _tools(), source, [Earlier(address, result)]).calls == called

"""A tenant that has something wherever something can be, and what is found of it."""

from __future__ import annotations

from pathlib import Path

from stack import Stack, Tenant

CANARY = "canary-7f3a9c"
HELD = f"Valida el NIT 900.123.456-8 y crea una factura para {CANARY} por 250.000 COP de asesoría"


def fill(stack: Stack, tenant: Tenant) -> None:
    """Leave something of a tenant wherever something can be."""
    tenant.must("storage/put_json", {"key": CANARY, "value": {"said": CANARY}}, key=f"{CANARY}-1")
    bill = {"customer_id": CANARY, "items": [{"description": CANARY, "quantity": 1, "unit_price_minor": 100}]}
    tenant.must("billing/create_invoice", bill, key=f"{CANARY}-2")
    tenant.client.post("/keys", json={"role": "viewer", "name": CANARY})
    tenant.install("colombia")
    tenant.install("pypi:mcp-server-time", name="clock", secrets={"CANARY_TOKEN": CANARY})
    tenant.must("clock/get_current_time", {"timezone": "America/Bogota"})
    written = stack.data / "tenants" / tenant.name / "servers" / "clock" / "deep" / CANARY
    written.parent.mkdir()
    written.write_text(CANARY)
    asked = {"agent": "concierge", "input": HELD, "wait": 30, "thread": CANARY}
    run = tenant.client.post("/runs", json=asked).json()
    assert run["status"] == "interrupted", run
    assert CANARY in tenant.client.get("/approvals").text


def traces(data: Path, *words: str) -> list[str]:
    """Return where below a data folder any of some words stands, in a name or in a file's bytes."""
    found: list[str] = []
    for path in sorted(data.rglob("*")):
        if "store" in path.relative_to(data).parts[:1]:
            continue  # packages, which all tenants share
        found += [f"{path.name}: its name" for word in words if word in path.name]
        if path.is_file():
            raw = path.read_bytes()
            found += [f"{path.relative_to(data)}: {word}" for word in words if word.encode() in raw]
    return found

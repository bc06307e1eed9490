"""A supervisor over fake services, run as a process: arguments are the data folder and the port."""

import sys
from pathlib import Path

from tausestack_runtime.services import ServiceSpec
from tausestack_runtime.settings import StartError, read_settings
from tausestack_runtime.supervisor.stack import Supervisor

SERVICES = (
    ServiceSpec("plain", "supervised_service:plain", seals="secrets"),
    ServiceSpec("brief", "supervised_service:brief", idle_seconds=0.5),
    ServiceSpec("broken", "supervised_service:missing"),
    ServiceSpec("worker", "supervised_service:worker", idle_seconds=None, work=("work",)),
    ServiceSpec("heavy", "supervised_heavy:heavy", heavy=True),
)
ADAPTER = ServiceSpec("adapter", "supervised_service:adapter", template=True)

DELAYS = (0.0, 0.01)

data, port = sys.argv[1:]
gateway = [sys.executable, str(Path(__file__).with_name("supervised_gateway.py"))]
try:
    settings = read_settings(data=data, port=port)
    supervisor = Supervisor(settings, services=SERVICES, adapter=ADAPTER, gateway=gateway, delays=DELAYS)
except StartError as refusal:
    sys.exit(f"tausestack: {refusal}")
sys.exit(supervisor.run())

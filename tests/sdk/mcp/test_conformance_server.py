"""The fixture that the conformance suite is run against, by the official client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from task_clients import TakesTasks

pytestmark = pytest.mark.anyio
FAKES = Path(__file__).parents[2] / "fakes"
ERAS = ["2026-07-28", "legacy"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the fixture serves."""
    command = [sys.executable, "-m", "conformance_server", "--port", "0"]
    with subprocess.Popen(command, cwd=FAKES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(params=ERAS)
def client(request: pytest.FixtureRequest, url: str) -> Client:
    """The official client, which answers whatever it is asked."""

    async def elicit(_context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content=dict.fromkeys(params.requested_schema["properties"], "Ada"))

    async def sample(_context: Any, _params: Any) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="m")

    async def roots(_context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri="file:///home")])  # type: ignore[arg-type]

    return Client(
        url, mode=request.param, elicitation_callback=elicit, sampling_callback=sample, list_roots_callback=roots
    )


@pytest.mark.covers("tasks:fixture")
async def test_everything_on_offer_is_described(client: Client) -> None:
    async with client:
        tools, prompts = (await client.list_tools()).tools, (await client.list_prompts()).prompts
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        assert len(tools) > 30
        assert all(each.description for each in (*tools, *prompts, *resources, *templates))


@pytest.mark.covers("tasks:fixture")
@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("test_sampling", {"prompt": "Capital?"}, "LLM response: Paris"),
        ("test_elicitation", {"message": "Who?"}, "action=accept"),
        ("test_input_required_result_list_roots", {}, "1 roots: file:///home"),
        ("test_input_required_result_multiple_inputs", {}, "Paris, Ada"),
        ("test_input_required_result_multi_round", {}, "Ada likes Ada."),
    ],
)
async def test_a_tool_asks_clients_of_both_eras(
    client: Client, tool: str, arguments: dict[str, Any], said: str
) -> None:  # fmt: skip
    async with client:
        (part,) = (await client.call_tool(tool, arguments)).content
        assert isinstance(part, TextContent)
        assert said in part.text


@pytest.mark.covers("tasks:fixture")
async def test_a_job_is_a_task_to_a_client_that_takes_one(url: str) -> None:
    takes = TakesTasks()
    async with Client(url, mode="2026-07-28", extensions=[takes]) as client:
        (part,) = (await client.call_tool("slow_compute", {"seconds": 0.2, "label": "sum"})).content
        assert isinstance(part, TextContent)
        assert part.text == "sum: done after 0.2 s"
    assert {state.status for state in takes.states} == {"working", "completed"}
    assert takes.states[0].status_message == "computing for 0.2 s"

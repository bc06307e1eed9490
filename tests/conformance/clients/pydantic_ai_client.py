"""pydantic-ai's MCPToolset, as an agent uses it: `pydantic_ai_client.py URL KEY MODE TOOL ARGUMENTS`."""

import json
import sys

import anyio
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel


async def main(url: str, key: str, mode: str, tool: str, arguments: str) -> None:
    offered: list[str] = []

    def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        offered[:] = [one.name for one in info.function_tools]
        returned = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        if returned:
            return ModelResponse([TextPart(returned[0].model_response_str())])
        return ModelResponse([ToolCallPart(tool, arguments)])

    toolset = MCPToolset(url, headers={"Authorization": f"Bearer {key}"}, tool_error_behavior="error")
    answer = await Agent(FunctionModel(script), toolsets=[toolset]).run("Call it.")
    print(json.dumps({"version": None, "tools": offered, "failed": False, "result": answer.output}))


anyio.run(main, *sys.argv[1:])

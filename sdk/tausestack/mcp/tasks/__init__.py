"""Calls that run long: answered with a task that is asked after, answered and cancelled apart (SEP-2663).

`Tasks` runs and keeps them, `attach` serves them on a protocol server. Tools of the kit need neither: they declare
`task_support`.
"""

from __future__ import annotations

from tausestack.mcp.tasks.engine import Tasks
from tausestack.mcp.tasks.extension import attach, may_answer_with_task
from tausestack.mcp.tasks.record import Owner, Task, TaskLimits
from tausestack.mcp.tasks.runs import Run, Work
from tausestack.mcp.tasks.shapes import EXTENSION, capabilities_in, created, lacking_for, lacking_tasks

__all__ = [
    "EXTENSION",
    "Owner",
    "Run",
    "Task",
    "TaskLimits",
    "Tasks",
    "Work",
    "attach",
    "capabilities_in",
    "created",
    "lacking_for",
    "lacking_tasks",
    "may_answer_with_task",
]

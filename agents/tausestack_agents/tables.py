"""The tables of the agents service: runs, their journal and events, and the dispatch table of due work."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import OF_TENANT, Schema

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("thread", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("output", sa.Text),
    sa.Column("interrupt", sa.JSON(none_as_null=True)),
    sa.Column("decision", sa.JSON(none_as_null=True)),
    sa.Column("budget", sa.JSON(none_as_null=True)),
    sa.Column("model", sa.Text),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text),
    sa.Column("ended_at", sa.Text),
    sa.Column("version", sa.Integer),
    sa.Column("kind", sa.Text),
    sa.Column("rules", sa.JSON(none_as_null=True)),
    sa.Column("parent", sa.Text),
    sa.Column("root", sa.Text),
    sa.Column("depth", sa.Integer),
    sa.Column("structured", sa.JSON(none_as_null=True)),
    sa.Column("context", sa.JSON(none_as_null=True)),
    sa.Column("pausing", sa.Boolean, nullable=False, default=False),
    sa.Column("origin", sa.JSON(none_as_null=True)),
)
"""One row a run: the authority on whether it has ended. `fence` grows with each claim; a stale worker can't write.

`version` is the agent's that it began with, `kind` a team's or a question to a person, `rules` the approvals that hold
for it (its agent's, and those of whoever started it or handed it over), `parent` and `root` the run that started it and
the first of all, `structured` an answer that fits its agent's schema, `context` what whoever asked knew already.
`pausing`: it is to stop before its next call. `origin`: what it was forked from, or by which schedule or message it
began, and its trace.
"""

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False, default=""),
    sa.Column("tool", sa.Text, nullable=False, default=""),
    sa.Column("arguments", sa.JSON),
    sa.Column("key", sa.Text, nullable=False, default=""),
    sa.Column("approval", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Text),
)
"""One row a model or tool call: intent, then result. Keyed by run, graph task and the call's id within it."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
"""What happened in a run, for whoever follows it; numbered from 1 without gaps."""

dispatch = sa.Table(
    "dispatch",
    metadata,
    sa.Column("for_tenant", sa.Text, primary_key=True, info=OF_TENANT),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("due", sa.Float, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False, default=0),
    sa.Column("owner", sa.Text, nullable=False, default=""),
    sa.Column("wakes", sa.Integer, nullable=False, default=1),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
    sa.Column("deaths_here", sa.Integer, nullable=False, server_default="0"),
    sa.Column("died_at", sa.Integer, nullable=False, server_default="0"),
)
"""Due work of all tenants; only the rows of tenant `_system` count. Times are seconds since the epoch.

`deaths` is how often the process died that a run had to itself, `deaths_here` how often in a row since `died_at` of the
run's calls had ended.
"""

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("covers", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
)
"""What a long thread's earlier turns come to; `covers` is when the last run began that is among them."""

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("thread", sa.Text),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("missed", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("next_at", sa.Text),
    sa.Column("last_at", sa.Text),
    sa.Column("last_run", sa.Text),
    sa.Column("last_error", sa.JSON(none_as_null=True)),
)
"""What is run again and again, for whoever made the schedule. Times are UTC, ISO 8601."""

timers = sa.Table(
    "timers",
    metadata,
    sa.Column("for_tenant", sa.Text, primary_key=True, info=OF_TENANT),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("due", sa.Float, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False, default=0),
    sa.Column("created", sa.Float, nullable=False),
)
"""When something of a tenant is to be looked at; only the rows of `_system` count. `due` is in epoch seconds."""

SCHEMA = Schema("agents", metadata, "tausestack_agents.migrations", idle_seconds=10)

agents = sa.Table(
    "agents",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
"""What a tenant saved, and the version that its name stands for; a team's name begins with `team:`."""

specs = sa.Table(
    "specs",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("saved_at", sa.Text, nullable=False),
    sa.Column("saved_by", sa.Text, nullable=False),
)
"""Every version of every agent that was saved, or that a run began with; none is ever changed."""

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("decision", sa.JSON, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
"""What people decided of what runs wait for: an approval by its id, a call by its place."""

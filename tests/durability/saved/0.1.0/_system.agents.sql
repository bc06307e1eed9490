BEGIN TRANSACTION;
CREATE TABLE agents (
	name TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE decisions (
	run TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	decision JSON NOT NULL, 
	at TEXT NOT NULL, 
	PRIMARY KEY (run, subject)
);
CREATE TABLE dispatch (
	for_tenant TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	id TEXT NOT NULL, 
	due FLOAT NOT NULL, 
	lease_until FLOAT NOT NULL, 
	owner TEXT NOT NULL, 
	wakes INTEGER NOT NULL, 
	created FLOAT NOT NULL, 
	PRIMARY KEY (for_tenant, kind, id)
);
INSERT INTO "dispatch" VALUES('acme','run','run_3ee1164014b6137b291b',1.79572950289250707627e+09,1.79572951812840151787e+09,'097d20070b370e16:10627:3996798:4a84350a',1,1.79572950289250707627e+09);
CREATE TABLE events (
	run TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	data JSON NOT NULL, 
	at TEXT NOT NULL, 
	PRIMARY KEY (run, seq)
);
CREATE TABLE idempotency_keys (
	tool TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	result JSON NOT NULL, 
	created_at TEXT NOT NULL, 
	PRIMARY KEY (tool, "key")
);
CREATE TABLE journal (
	run TEXT NOT NULL, 
	task TEXT NOT NULL, 
	call TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	server TEXT NOT NULL, 
	tool TEXT NOT NULL, 
	arguments JSON, 
	"key" TEXT NOT NULL, 
	approval TEXT, 
	status TEXT NOT NULL, 
	result JSON, 
	error JSON, 
	at TEXT NOT NULL, 
	ended_at TEXT, 
	PRIMARY KEY (run, task, call)
);
CREATE TABLE mcp_task_processes (
	process TEXT NOT NULL, 
	of_tenant TEXT NOT NULL, 
	seen_at TEXT NOT NULL, 
	PRIMARY KEY (process, of_tenant)
);
CREATE TABLE mcp_tasks (
	id TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	tool TEXT NOT NULL, 
	"key" TEXT, 
	digest TEXT NOT NULL, 
	call JSON NOT NULL, 
	process TEXT NOT NULL, 
	runs INTEGER NOT NULL, 
	cancelling BOOLEAN NOT NULL, 
	ending TEXT, 
	message TEXT, 
	asked JSON NOT NULL, 
	answers JSON NOT NULL, 
	result JSON, 
	error JSON, 
	ttl_ms BIGINT NOT NULL, 
	poll_ms BIGINT NOT NULL, 
	created_at TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	expires_at TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE runs (
	id TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	thread TEXT NOT NULL, 
	input TEXT NOT NULL, 
	status TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	scopes JSON NOT NULL, 
	fence INTEGER NOT NULL, 
	output TEXT, 
	interrupt JSON, 
	decision JSON, 
	error JSON, 
	created_at TEXT NOT NULL, 
	started_at TEXT, 
	ended_at TEXT, budget JSON, model TEXT, version INTEGER, kind TEXT, rules JSON, parent TEXT, root TEXT, depth INTEGER, structured JSON, context JSON, pausing BOOLEAN DEFAULT 0 NOT NULL, origin JSON, 
	PRIMARY KEY (id)
);
CREATE TABLE schedules (
	name TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	input TEXT NOT NULL, 
	thread TEXT, 
	cron TEXT NOT NULL, 
	timezone TEXT NOT NULL, 
	missed TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	principal TEXT NOT NULL, 
	scopes JSON NOT NULL, 
	created_at TEXT NOT NULL, 
	next_at TEXT, 
	last_at TEXT, 
	last_run TEXT, 
	last_error JSON, 
	PRIMARY KEY (name)
);
CREATE TABLE specs (
	name TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	spec JSON NOT NULL, 
	saved_at TEXT NOT NULL, 
	saved_by TEXT NOT NULL, 
	PRIMARY KEY (name, version)
);
CREATE TABLE threads (
	id TEXT NOT NULL, 
	summary TEXT NOT NULL, 
	covers TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE timers (
	for_tenant TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	id TEXT NOT NULL, 
	due FLOAT NOT NULL, 
	lease_until FLOAT NOT NULL, 
	created FLOAT NOT NULL, 
	PRIMARY KEY (for_tenant, kind, id)
);
INSERT INTO "timers" VALUES('acme','approval','run_6a5aead3ccde78998137',32472144001.0,0.0,1.79572949856350326533e+09);
INSERT INTO "timers" VALUES('acme','schedule','nightly',1795748400.0,0.0,1.79572950124672484398e+09);
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX runs_by_thread ON runs (thread, status);
CREATE INDEX dispatch_by_due ON dispatch (due, lease_until);
CREATE INDEX runs_by_parent ON runs (parent);
CREATE INDEX runs_by_root ON runs (root);
CREATE INDEX timers_by_due ON timers (due);
CREATE UNIQUE INDEX mcp_tasks_by_key ON mcp_tasks (tool, "key");
CREATE INDEX mcp_tasks_by_expiry ON mcp_tasks (expires_at);
COMMIT;

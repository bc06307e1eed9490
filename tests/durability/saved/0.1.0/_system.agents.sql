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
INSERT INTO "alembic_version" VALUES('0003');
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
INSERT INTO "dispatch" VALUES('acme','run','run_3ee1164014b6137b291b',1.79571788544927358633e+09,1.79571790050267744058e+09,'097d20070b370e16:4941:2835106:4592dbd7',1,1.79571788544927358633e+09);
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
	ended_at TEXT, budget JSON, model TEXT, version INTEGER, kind TEXT, rules JSON, parent TEXT, root TEXT, depth INTEGER, structured JSON, context JSON, 
	PRIMARY KEY (id)
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
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX runs_by_thread ON runs (thread, status);
CREATE INDEX dispatch_by_due ON dispatch (due, lease_until);
CREATE INDEX runs_by_parent ON runs (parent);
CREATE INDEX runs_by_root ON runs (root);
COMMIT;

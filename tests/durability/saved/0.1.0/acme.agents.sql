BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
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
CREATE TABLE events (
	run TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	data JSON NOT NULL, 
	at TEXT NOT NULL, 
	PRIMARY KEY (run, seq)
);
INSERT INTO "events" VALUES('run_02f09569842e52797edf',1,'run','{"status": "pending", "agent": "concierge", "input": "Record a visit of the patient \"a-parked\". Then send a letter to the customer \"c-parked\". Then check the room \"r-parked\". Then record a visit of the patient \"b-parked\"."}','2026-11-26T18:24:37.344001+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',2,'run','{"status": "running"}','2026-11-26T18:24:37.357597+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',3,'step','{"task": "step-0", "status": "running"}','2026-11-26T18:24:37.740140+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',4,'tool_call','{"call": "step-0/0-6c5d09eb0315", "server": "ledger", "tool": "record_visit", "arguments": {"patient": "a-parked"}}','2026-11-26T18:24:37.746810+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',5,'tool_result','{"call": "step-0/0-6c5d09eb0315", "server": "ledger", "tool": "record_visit", "status": "done", "result": {"done": {"patient": "a-parked"}}}','2026-11-26T18:24:37.776353+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',6,'step','{"task": "step-0", "status": "done"}','2026-11-26T18:24:37.795950+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',7,'step','{"task": "step-1", "status": "running"}','2026-11-26T18:24:37.812028+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',8,'tool_call','{"call": "step-1/0-a07ff5dcb498", "server": "post", "tool": "send_letter", "arguments": {"customer": "c-parked"}}','2026-11-26T18:24:37.812455+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',9,'run','{"status": "running"}','2026-11-26T18:24:38.077681+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',10,'tool_result','{"call": "step-1/0-a07ff5dcb498", "server": "post", "tool": "send_letter", "status": "in_doubt", "error": {"code": "in_doubt", "message": "It may or may not have taken effect", "times": 1}}','2026-11-26T18:24:38.267241+00:00');
INSERT INTO "events" VALUES('run_02f09569842e52797edf',11,'run','{"status": "interrupted", "interrupt": {"kind": "decision", "call": "step-1/0-a07ff5dcb498", "server": "post", "tool": "send_letter", "arguments": {"customer": "c-parked"}, "asked": "step-1/0-a07ff5dcb498/1", "message": "This call broke midway: approve to send it again, reject to leave it"}}','2026-11-26T18:24:38.285388+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',1,'run','{"status": "pending", "agent": "concierge", "input": "Record a visit of the patient \"a-cut\". Then send a letter to the customer \"c-cut\". Then check the room \"r-cut\". Then record a visit of the patient \"b-cut\"."}','2026-11-26T18:24:39.011300+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',2,'run','{"status": "running"}','2026-11-26T18:24:39.055708+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',3,'step','{"task": "step-0", "status": "running"}','2026-11-26T18:24:39.755902+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',4,'tool_call','{"call": "step-0/0-c81088ba705a", "server": "ledger", "tool": "record_visit", "arguments": {"patient": "a-cut"}}','2026-11-26T18:24:39.756592+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',5,'tool_result','{"call": "step-0/0-c81088ba705a", "server": "ledger", "tool": "record_visit", "status": "done", "result": {"done": {"patient": "a-cut"}}}','2026-11-26T18:24:39.817124+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',6,'step','{"task": "step-0", "status": "done"}','2026-11-26T18:24:39.855703+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',7,'step','{"task": "step-1", "status": "running"}','2026-11-26T18:24:39.948360+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',8,'tool_call','{"call": "step-1/0-3dc542b50bdc", "server": "post", "tool": "send_letter", "arguments": {"customer": "c-cut"}}','2026-11-26T18:24:39.948873+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',9,'tool_result','{"call": "step-1/0-3dc542b50bdc", "server": "post", "tool": "send_letter", "status": "done", "result": {"done": {"customer": "c-cut"}}}','2026-11-26T18:24:39.966008+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',10,'step','{"task": "step-1", "status": "done"}','2026-11-26T18:24:39.980110+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',11,'step','{"task": "step-2", "status": "running"}','2026-11-26T18:24:40.087005+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',12,'tool_call','{"call": "step-2/0-1ab9b9a975cd", "server": "clinic", "tool": "check_room", "arguments": {"room": "r-cut"}}','2026-11-26T18:24:40.087758+00:00');
INSERT INTO "events" VALUES('run_3ee1164014b6137b291b',13,'tool_result','{"call": "step-2/0-1ab9b9a975cd", "server": "clinic", "tool": "check_room", "status": "done", "result": {"done": {"room": "r-cut"}}}','2026-11-26T18:24:40.120522+00:00');
CREATE TABLE idempotency_keys (
	tool TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	result JSON NOT NULL, 
	created_at TEXT NOT NULL, 
	PRIMARY KEY (tool, "key")
);
INSERT INTO "idempotency_keys" VALUES('run','parked','90456054bcbd9fdeceee0c5ed2beb337f9ec38382e85d074760bce69231fb5ca','{"id": "run_02f09569842e52797edf", "agent": "concierge", "thread": "thread_02f09569842e52797edf", "status": "pending", "input": "Record a visit of the patient \"a-parked\". Then send a letter to the customer \"c-parked\". Then check the room \"r-parked\". Then record a visit of the patient \"b-parked\".", "output": null, "steps": [], "cost": {"tool_calls": 0, "model_calls": 0, "models": [], "input_tokens": 0, "output_tokens": 0, "usd": 0}, "created_at": "2026-11-26T18:24:37.342586+00:00", "ended_at": null}','2026-11-26T18:24:37.368833+00:00');
INSERT INTO "idempotency_keys" VALUES('run','cut','6cfd0590853cfbcd34f59be35d0fa25c114e23be38689a24fe0799610dce32d1','{"id": "run_3ee1164014b6137b291b", "agent": "concierge", "thread": "thread_3ee1164014b6137b291b", "status": "pending", "input": "Record a visit of the patient \"a-cut\". Then send a letter to the customer \"c-cut\". Then check the room \"r-cut\". Then record a visit of the patient \"b-cut\".", "output": null, "steps": [], "cost": {"tool_calls": 0, "model_calls": 0, "models": [], "input_tokens": 0, "output_tokens": 0, "usd": 0}, "created_at": "2026-11-26T18:24:39.009978+00:00", "ended_at": null}','2026-11-26T18:24:39.105871+00:00');
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
INSERT INTO "journal" VALUES('run_02f09569842e52797edf','step-0','model-0',0,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"tool_name": "ledger__record_visit", "args": {"patient": "a-parked"}, "tool_call_id": "0-6c5d09eb0315", "tool_kind": null, "id": null, "provider_name": null, "provider_details": null, "part_kind": "tool-call"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:37.561493Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:37.732965+00:00',NULL);
INSERT INTO "journal" VALUES('run_02f09569842e52797edf','step-0','0-6c5d09eb0315',1,'tool','ledger','record_visit','{"patient": "a-parked"}','run_02f09569842e52797edf:cc38c2ce90e8f257ed58a496',NULL,'done','{"content": [{"type": "text", "text": "{\"done\": {\"patient\": \"a-parked\"}}"}], "structuredContent": {"done": {"patient": "a-parked"}}, "isError": false}',NULL,'2026-11-26T18:24:37.734275+00:00','2026-11-26T18:24:37.771104+00:00');
INSERT INTO "journal" VALUES('run_02f09569842e52797edf','step-0','model-1',2,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"content": "Record a visit of the patient \"a-parked\" \u2014 ledger/record_visit: patient: a-parked", "id": null, "provider_name": null, "provider_details": null, "citations": null, "part_kind": "text"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:37.785586Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:37.795159+00:00',NULL);
INSERT INTO "journal" VALUES('run_02f09569842e52797edf','step-1','model-0',3,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"tool_name": "post__send_letter", "args": {"customer": "c-parked"}, "tool_call_id": "0-a07ff5dcb498", "tool_kind": null, "id": null, "provider_name": null, "provider_details": null, "part_kind": "tool-call"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:37.808116Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:37.811193+00:00',NULL);
INSERT INTO "journal" VALUES('run_02f09569842e52797edf','step-1','0-a07ff5dcb498',4,'tool','post','send_letter','{"customer": "c-parked"}','run_02f09569842e52797edf:9a0c901c8b50140b8d97f73d',NULL,'in_doubt',NULL,'{"code": "in_doubt", "message": "It may or may not have taken effect", "times": 1}','2026-11-26T18:24:37.811590+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-0','model-0',0,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"tool_name": "ledger__record_visit", "args": {"patient": "a-cut"}, "tool_call_id": "0-c81088ba705a", "tool_kind": null, "id": null, "provider_name": null, "provider_details": null, "part_kind": "tool-call"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:39.396636Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:39.744461+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-0','0-c81088ba705a',1,'tool','ledger','record_visit','{"patient": "a-cut"}','run_3ee1164014b6137b291b:9416329db4db8f7e2b92d970',NULL,'done','{"content": [{"type": "text", "text": "{\"done\": {\"patient\": \"a-cut\"}}"}], "structuredContent": {"done": {"patient": "a-cut"}}, "isError": false}',NULL,'2026-11-26T18:24:39.745471+00:00','2026-11-26T18:24:39.811973+00:00');
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-0','model-1',2,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"content": "Record a visit of the patient \"a-cut\" \u2014 ledger/record_visit: patient: a-cut", "id": null, "provider_name": null, "provider_details": null, "citations": null, "part_kind": "text"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:39.852160Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:39.854287+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-1','model-0',3,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"tool_name": "post__send_letter", "args": {"customer": "c-cut"}, "tool_call_id": "0-3dc542b50bdc", "tool_kind": null, "id": null, "provider_name": null, "provider_details": null, "part_kind": "tool-call"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:39.921812Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:39.947297+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-1','0-3dc542b50bdc',4,'tool','post','send_letter','{"customer": "c-cut"}','run_3ee1164014b6137b291b:71f5156b46f266dcfed48c6d',NULL,'done','{"content": [{"type": "text", "text": "{\"done\": {\"customer\": \"c-cut\"}}"}], "structuredContent": {"done": {"customer": "c-cut"}}, "isError": false}',NULL,'2026-11-26T18:24:39.947759+00:00','2026-11-26T18:24:39.964324+00:00');
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-1','model-1',5,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"content": "Send a letter to the customer \"c-cut\" \u2014 post/send_letter: customer: c-cut", "id": null, "provider_name": null, "provider_details": null, "citations": null, "part_kind": "text"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:39.977860Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:39.979439+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-2','model-0',6,'model','','','{"attempts": []}','',NULL,'done','{"parts": [{"tool_name": "clinic__check_room", "args": {"room": "r-cut"}, "tool_call_id": "0-1ab9b9a975cd", "tool_kind": null, "id": null, "provider_name": null, "provider_details": null, "part_kind": "tool-call"}], "usage": {"input_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0, "output_reasoning_tokens": 0, "input_audio_tokens": 0, "cache_audio_read_tokens": 0, "output_audio_tokens": 0, "audio_seconds": 0.0, "details": {}, "cost": null}, "model_name": "offline", "model_id": null, "timestamp": "2026-11-26T18:24:40.044807Z", "kind": "response", "provider_name": null, "provider_url": null, "canonical_system": null, "provider_details": null, "provider_response_id": null, "finish_reason": null, "run_id": null, "conversation_id": null, "metadata": null, "workspace_ref": null, "history_digest": null, "failed_attempts": null, "state": "complete"}',NULL,'2026-11-26T18:24:40.077532+00:00',NULL);
INSERT INTO "journal" VALUES('run_3ee1164014b6137b291b','step-2','0-1ab9b9a975cd',7,'tool','clinic','check_room','{"room": "r-cut"}','run_3ee1164014b6137b291b:0922053dfc41c027133a07d5',NULL,'done','{"content": [{"type": "text", "text": "{\"done\": {\"room\": \"r-cut\"}}"}], "structuredContent": {"done": {"room": "r-cut"}}, "isError": false}',NULL,'2026-11-26T18:24:40.078079+00:00','2026-11-26T18:24:40.107646+00:00');
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
	ended_at TEXT, budget JSON, model TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('run_02f09569842e52797edf','concierge','thread_02f09569842e52797edf','Record a visit of the patient "a-parked". Then send a letter to the customer "c-parked". Then check the room "r-parked". Then record a visit of the patient "b-parked".','interrupted','key:acme','["runs:write", "servers:manage", "tenant:admin", "tools:call", "tools:read"]',2,NULL,'{"kind": "decision", "call": "step-1/0-a07ff5dcb498", "server": "post", "tool": "send_letter", "arguments": {"customer": "c-parked"}, "asked": "step-1/0-a07ff5dcb498/1", "message": "This call broke midway: approve to send it again, reject to leave it"}',NULL,NULL,'2026-11-26T18:24:37.342586+00:00','2026-11-26T18:24:37.356685+00:00',NULL,NULL,NULL);
INSERT INTO "runs" VALUES('run_3ee1164014b6137b291b','concierge','thread_3ee1164014b6137b291b','Record a visit of the patient "a-cut". Then send a letter to the customer "c-cut". Then check the room "r-cut". Then record a visit of the patient "b-cut".','running','key:acme','["runs:write", "servers:manage", "tenant:admin", "tools:call", "tools:read"]',1,NULL,NULL,NULL,NULL,'2026-11-26T18:24:39.009978+00:00','2026-11-26T18:24:39.054712+00:00',NULL,NULL,NULL);
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX runs_by_thread ON runs (thread, status);
CREATE INDEX dispatch_by_due ON dispatch (due, lease_until);
COMMIT;

// A server of an npm package that does what large ones do as they start: WebAssembly memories, and many files at once.
import { open } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const memories = Array.from({ length: 4 }, () => new WebAssembly.Memory({ initial: 1, maximum: 65536 }));
const own = fileURLToPath(import.meta.url);
const files = await Promise.all(Array.from({ length: 1000 }, () => open(own)));
const told = `${memories.length} memories, ${files.length} files, ${process.argv.slice(2)}`;
await Promise.all(files.map((file) => file.close()));

const serverInfo = { name: "heavy", version: "1" };
const tools = [{ name: "told", description: "What it took.", inputSchema: { type: "object" } }];
const answers = {
  initialize: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo },
  "tools/list": { tools },
  "tools/call": { content: [{ type: "text", text: told }] },
};
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method } = JSON.parse(line);
  const error = { code: -32601, message: "Method not found" };
  const said = answers[method] ? { result: answers[method] } : { error };
  if (id !== undefined) console.log(JSON.stringify({ jsonrpc: "2.0", id, ...said }));
}

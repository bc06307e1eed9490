// The TypeScript SDK 1: `typescript_v1.mjs URL KEY MODE TOOL ARGUMENTS`; run where its packages are.
import { createRequire } from 'node:module';

const load = createRequire(`${process.cwd()}/`);
const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const [url, key, , tool, given] = process.argv.slice(2);
const client = new Client({ name: 'typescript', version: '1.0.0' });
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${key}` } },
});
await client.connect(transport);
const { tools } = await client.listTools();
const { prompts } = await client.listPrompts();
const { resources } = await client.listResources();
const { resourceTemplates } = await client.listResourceTemplates();
const offered = [...prompts, ...resources, ...resourceTemplates].map((one) => one.name);
const result = await client.callTool({ name: tool, arguments: JSON.parse(given) });
const said = { version: transport.protocolVersion, tools: tools.map((one) => one.name), offered, failed: result.isError === true };
console.log(JSON.stringify({ ...said, result: JSON.stringify(result) }));
await transport.terminateSession();
await client.close();

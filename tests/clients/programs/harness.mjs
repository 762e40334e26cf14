// What the Node programs share; see harness.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

export const AT = JSON.parse(process.argv[2]);
export const V1 = `${AT.url}/v1`;
export const KEY = "none";
export const QUESTION = "What does a lighthouse do?";
export const MESSAGES = [{ role: "user", content: QUESTION }];
export const WEATHER = "What is the weather in Paris?";
export const REPORT = "18 degrees and sunny";
export const PERSON = "Maria works as a nurse in Lisbon.";
export const TOO_LONG = "word ".repeat(9000);
export const CITY = {
  $schema: "http://json-schema.org/draft-07/schema#",
  type: "object",
  properties: { city: { type: "string", description: "the city" } },
  required: ["city"],
  additionalProperties: false,
};
const LONGEST_MS = 90_000;

// The packages lie in AT.modules, outside this repository.
const require = createRequire(`${AT.modules}/`);
const folder = (name) => `${AT.modules}/node_modules/${name}`;
const described = (name) => JSON.parse(readFileSync(`${folder(name)}/package.json`, "utf8"));

export async function load(name) {
  const { exports, module } = described(name);
  const entry = exports?.["."]?.import;
  const file = typeof entry === "string" ? entry : (entry?.default ?? module);
  if (file) return import(pathToFileURL(`${folder(name)}/${file}`).href);
  return import(pathToFileURL(require.resolve(name)).href);
}

const story = (fault) => `${AT.client}-${fault}`;
export const faulty = (fault) => `${AT.faults}/${fault}/${story(fault)}`;

export async function retried(fault, said) {
  const seen = await (await fetch(`${AT.faults}/seen/${story(fault)}`)).json();
  assert.ok(said, "no answer after the retry");
  assert.ok(seen.length > 1, "the client did not ask again");
  assert.ok(seen[1] - seen[0] >= 0.95, `it asked again after ${seen[1] - seen[0]} s`);
  return "asked again after the second it was told to wait";
}

// The error that `call` throws, once it is of `kind` and holds all `words`.
export async function raised(kind, call, ...words) {
  const error = await call().then(
    (found) => assert.fail(`nothing was thrown; the answer was ${JSON.stringify(found)}`),
    (thrown) => thrown,
  );
  if (error instanceof assert.AssertionError) throw error;
  assert.ok(kind(error), `thrown was ${error?.name}: ${error?.message}`);
  const text = `${error.message} ${error.code} ${error.responseBody} ${JSON.stringify(error.error)}`;
  for (const word of words) assert.ok(text.includes(word), `${word} is not in: ${text}`);
  return error.constructor.name;
}

export async function cancelledSoFar() {
  const lines = (await (await fetch(`${AT.url}/metrics`)).text()).split("\n");
  return lines
    .filter((line) => line.startsWith("veneer_requests_total") && line.includes('"cancelled"'))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

export async function untilCancelled(before) {
  const end = Date.now() + 20_000;
  while (Date.now() < end) {
    if ((await cancelledSoFar()) > before) return "the server stopped generating";
    await new Promise((next) => setTimeout(next, 50));
  }
  return assert.fail("the server went on generating");
}

export async function main(name, features) {
  globalThis.AI_SDK_LOG_WARNINGS = false;
  const { name: real, version } = described(name);
  console.log(JSON.stringify({ package: real, version }));
  for (const [feature, run] of Object.entries(features)) {
    if (AT.features.includes(feature)) {
      console.log(JSON.stringify({ feature, ...(await outcome(run)) }));
    }
  }
  process.exit(0);
}

async function outcome(run) {
  let timer;
  const late = new Promise((_, no) => {
    timer = setTimeout(() => no(new Error(`not done after ${LONGEST_MS} ms`)), LONGEST_MS);
  });
  try {
    return { outcome: "ok", detail: String(await Promise.race([run(), late])).slice(0, 200) };
  } catch (error) {
    console.error(error);
    const text = `${error?.constructor?.name}: ${error?.message} ${error?.cause?.message ?? ""}`;
    return { outcome: "failed", detail: text.slice(0, 600) };
  } finally {
    clearTimeout(timer);
  }
}

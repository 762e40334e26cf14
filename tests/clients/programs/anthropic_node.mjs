// Anthropic's SDK for Node, the newest major and the one before: AT.suffix says which.
import assert from "node:assert/strict";
import {
  AT, CITY, KEY, MESSAGES, PERSON, REPORT, TOO_LONG, WEATHER,
  cancelledSoFar, faulty, load, main, raised, retried, untilCancelled,
} from "./harness.mjs";

const name = `@anthropic-ai/sdk${AT.suffix}`;
const { default: Anthropic } = await load(name);
const made = (baseURL) => new Anthropic({ baseURL, apiKey: KEY });
const client = made(AT.url);
const usual = (fault) => made(faulty(fault));
const tool = { name: "get_weather", description: "Get the weather in a city.", input_schema: CITY };

async function listing() {
  const found = [];
  for await (const model of client.models.list()) found.push(model);
  assert.ok(found.some((model) => model.id === AT.adapter), "the adapter is missing");
  assert.ok(found.every((model) => model.type === "model"), JSON.stringify(found[0]));
  return `${found.length} models`;
}

async function chat(of = client, model = AT.adapter) {
  const answer = await of.messages.create({ model, messages: MESSAGES, max_tokens: 16 });
  assert.equal(answer.model, model);
  return answer.content[0].text;
}

async function stream(of = client) {
  const events = of.messages.stream({ model: AT.adapter, messages: MESSAGES, max_tokens: 16 });
  return events.finalText();
}

async function tools() {
  const messages = [{ role: "user", content: WEATHER }];
  const offered = { model: AT.tools, max_tokens: 64, temperature: 0, tools: [tool] };
  const first = await client.messages.create({ messages, ...offered, tool_choice: { type: "any" } });
  const call = first.content.find((block) => block.type === "tool_use");
  assert.equal(typeof call.input.city, "string");
  messages.push({ role: "assistant", content: first.content });
  const result = { type: "tool_result", tool_use_id: call.id, content: REPORT };
  messages.push({ role: "user", content: [result] });
  return (await client.messages.create({ messages, ...offered })).content[0].type;
}

async function structured() {
  const answer = await client.messages.create({
    model: AT.base, max_tokens: 256, temperature: 0,
    messages: [{ role: "user", content: PERSON }],
    tools: [tool], tool_choice: { type: "tool", name: "get_weather" },
  });
  const { city } = answer.content.find((block) => block.type === "tool_use").input;
  assert.equal(typeof city, "string");
  return city;
}

async function errors() {
  const answer = await client.messages.create({ model: AT.adapter, messages: MESSAGES, max_tokens: 1 });
  assert.ok(answer._request_id, "no request id");
  const messages = [{ role: "user", content: TOO_LONG }];
  const long = () => client.messages.create({ model: AT.base, messages, max_tokens: 16 });
  const missing = (error) => error instanceof Anthropic.NotFoundError;
  const bad = (error) => error instanceof Anthropic.BadRequestError;
  const told = await raised(missing, () => chat(client, "nobody"), "not_found_error");
  return `${told}, ${await raised(bad, long, "invalid_request_error")}`;
}

async function cancelled() {
  const before = await cancelledSoFar();
  const events = await client.messages.create({
    model: AT.base, messages: MESSAGES, max_tokens: 1500, stream: true,
  });
  for await (const _ of events) break;
  return untilCancelled(before);
}

await main(name, {
  list: listing,
  chat,
  stream,
  tools,
  structured,
  errors,
  limited: async () => retried("limited", await chat(usual("limited"))),
  cold: async () => retried("cold", await chat(usual("cold"))),
  broken: () =>
    raised((e) => e instanceof Anthropic.APIError, () => stream(usual("broken")), "engine stopped"),
  cancelled,
});

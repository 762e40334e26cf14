// openai for Node, the newest major and the one before: AT.suffix says which.
import assert from "node:assert/strict";
import {
  AT, CITY, KEY, MESSAGES, PERSON, QUESTION, REPORT, TOO_LONG, V1, WEATHER,
  cancelledSoFar, faulty, load, main, raised, retried, untilCancelled,
} from "./harness.mjs";

const name = `openai${AT.suffix}`;
const { default: OpenAI } = await load(name);
const client = new OpenAI({ baseURL: V1, apiKey: KEY });
const usual = (fault) => new OpenAI({ baseURL: `${faulty(fault)}/v1`, apiKey: KEY });
const tool = {
  type: "function",
  function: { name: "get_weather", description: "Get the weather in a city.", parameters: CITY },
};

async function listing() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  for (const each of [AT.base, AT.adapter, AT.tools]) assert.ok(names.includes(each), `no ${each}`);
  return `${names.length} models`;
}

async function chat(of = client, model = AT.adapter) {
  const answer = await of.chat.completions.create({ model, messages: MESSAGES, max_tokens: 16 });
  assert.equal(answer.model, model);
  assert.ok(answer._request_id, "no request id");
  return answer.choices[0].message.content;
}

async function stream(of = client) {
  const chunks = await of.chat.completions.create({
    model: AT.adapter, messages: MESSAGES, max_tokens: 16,
    stream: true, stream_options: { include_usage: true },
  });
  let text = "";
  let usage;
  for await (const chunk of chunks) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage;
  }
  assert.ok(usage, "no usage at the end");
  return text;
}

async function tools() {
  const run = client.chat.completions.runTools({
    model: AT.tools, temperature: 0, max_tokens: 64,
    messages: [{ role: "user", content: WEATHER }],
    tools: [{ ...tool, function: { ...tool.function, parse: JSON.parse, function: () => REPORT } }],
  });
  const text = await run.finalContent();
  assert.ok(run.messages.some((message) => message.role === "tool"), "no tool was called");
  return text;
}

async function structured() {
  const answer = await client.chat.completions.parse({
    model: AT.base, max_tokens: 80, temperature: 0,
    messages: [{ role: "user", content: PERSON }],
    response_format: { type: "json_schema", json_schema: { name: "place", strict: true, schema: CITY } },
  });
  const found = JSON.parse(answer.choices[0].message.content);
  assert.equal(typeof found.city, "string");
  return found.city;
}

async function responses() {
  const first = await client.responses.create({ model: AT.adapter, input: QUESTION });
  const events = client.responses.stream({
    model: AT.adapter, input: "And at night?", previous_response_id: first.id,
  });
  const second = await events.finalResponse();
  assert.equal(second.previous_response_id, first.id);
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
  return second.output_text;
}

async function errors() {
  const messages = [{ role: "user", content: TOO_LONG }];
  const long = () => client.chat.completions.create({ model: AT.base, messages });
  const missing = (error) => error instanceof OpenAI.NotFoundError;
  const bad = (error) => error instanceof OpenAI.BadRequestError;
  const told = await raised(missing, () => chat(client, "nobody"), "model_not_found");
  return `${told}, ${await raised(bad, long, "context_length_exceeded")}`;
}

async function cancelled() {
  const before = await cancelledSoFar();
  const chunks = await client.chat.completions.create({
    model: AT.base, messages: MESSAGES, max_tokens: 1500, stream: true,
  });
  for await (const _ of chunks) break;
  return untilCancelled(before);
}

await main(name, {
  list: listing,
  chat,
  stream,
  tools,
  structured,
  responses,
  errors,
  limited: async () => retried("limited", await chat(usual("limited"))),
  cold: async () => retried("cold", await chat(usual("cold"))),
  broken: () =>
    raised((e) => e instanceof OpenAI.APIError, () => stream(usual("broken")), "engine stopped"),
  cancelled,
});

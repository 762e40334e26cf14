// Vercel's AI SDK with one of its providers: AT.provider and AT.suffix say which.
import assert from "node:assert/strict";
import {
  AT, CITY, KEY, PERSON, QUESTION, REPORT, TOO_LONG, V1, WEATHER,
  cancelledSoFar, faulty, load, main, raised, retried, untilCancelled,
} from "./harness.mjs";

const { generateText, streamText, tool, jsonSchema, stepCountIs, isStepCount, Output, APICallError } =
  await load(AT.ai);
const provider = await load(AT.provider);

// What a user writes for each provider: Responses, chat completions or messages.
function models(baseURL) {
  const common = { baseURL, apiKey: KEY };
  if (provider.createAnthropic) return provider.createAnthropic(common);
  if (provider.createOpenAI) return provider.createOpenAI(common);
  return provider.createOpenAICompatible({ ...common, name: "veneer", includeUsage: true, supportsStructuredOutputs: true });
}
const of = models(V1);
const usual = (fault) => models(`${faulty(fault)}/v1`);
const once = { maxRetries: 0 };

async function chat(from = of, model = AT.adapter, more = {}) {
  const answer = await generateText({
    model: from(model), prompt: QUESTION, maxOutputTokens: 16, ...more,
  });
  assert.ok(answer.usage.outputTokens > 0, "no usage");
  return answer.text;
}

async function stream(from = of) {
  const failed = [];
  const answer = streamText({
    model: from(AT.adapter), prompt: QUESTION, maxOutputTokens: 16, maxRetries: 0,
    onError: ({ error }) => failed.push(error),
  });
  let text = "";
  for await (const part of answer.textStream) text += part;
  if (failed.length) throw Object.assign(new Error(JSON.stringify(failed[0]) + failed[0]?.message), { told: true });
  return text;
}

async function tools() {
  const weather = tool({
    description: "Get the weather in a city.",
    inputSchema: jsonSchema(CITY),
    execute: async () => REPORT,
  });
  const answer = await generateText({
    model: of(AT.tools), prompt: WEATHER, tools: { get_weather: weather },
    temperature: 0, maxOutputTokens: 64, stopWhen: (stepCountIs ?? isStepCount)(3),
  });
  assert.ok(answer.steps[0].toolResults.length > 0, "no tool was called");
  return answer.text || `${answer.steps.length} steps`;
}

async function structured() {
  const answer = await generateText({
    model: of(AT.base), prompt: PERSON, temperature: 0, maxOutputTokens: 80,
    output: Output.object({ schema: jsonSchema(CITY) }),
  });
  assert.equal(typeof answer.output.city, "string");
  return answer.output.city;
}

// The provider for OpenAI speaks Responses, and its second turn names items of the first.
async function responses() {
  const first = await generateText({ model: of(AT.adapter), prompt: QUESTION, maxOutputTokens: 24 });
  const messages = [
    { role: "user", content: QUESTION },
    ...first.response.messages,
    { role: "user", content: "And at night?" },
  ];
  return (await generateText({ model: of(AT.adapter), messages, maxOutputTokens: 24 })).text;
}

async function errors() {
  const call = (error) => APICallError.isInstance(error);
  const told = await raised(call, () => chat(of, "nobody", once), "nobody");
  const long = () => chat(of, AT.base, { ...once, prompt: TOO_LONG });
  return `${told}, ${await raised(call, long, "maximum context length")}`;
}

async function cancelled() {
  const before = await cancelledSoFar();
  const leaving = new AbortController();
  const answer = streamText({
    model: of(AT.base), prompt: QUESTION, maxOutputTokens: 1500, abortSignal: leaving.signal,
    onError: () => {},
  });
  for await (const _ of answer.textStream) {
    leaving.abort();
    break;
  }
  return untilCancelled(before);
}

await main(AT.provider, {
  chat,
  stream,
  tools,
  structured,
  responses,
  errors,
  limited: async () => retried("limited", await chat(usual("limited"))),
  cold: async () => retried("cold", await chat(usual("cold"))),
  broken: () => raised((error) => error.told, () => stream(usual("broken")), "engine stopped"),
  cancelled,
});

// Vercel's AI SDK: an answer as it is written. Needs `npm install ai @ai-sdk/openai`.
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const veneer = createOpenAI({
  baseURL: `${process.env.VENEER_URL ?? "http://127.0.0.1:8000"}/v1`,
  apiKey: process.env.VENEER_API_KEY ?? "none",
});

const { textStream } = streamText({
  model: veneer("pirate"),
  prompt: "What does a lighthouse do?",
  maxOutputTokens: 80,
});
process.stdout.write("Streamed: ");
for await (const text of textStream) process.stdout.write(text);
console.log();

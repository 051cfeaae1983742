// The npm packages `openai`, `@ai-sdk/openai` (responses) and `@ai-sdk/openai-compatible` (chats). Run in their folder.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany, generateText, streamText } from "ai";
import { client, complaint, crash, joined, refused, report, sameVectors, url, works } from "./calls.mjs";

const [question, answer] = ["drink?", "Grüner Tee 緑茶."];
const chats = ["assistant-lstm", "assistant-transformer"];
const messages = [{ role: "user", content: question }];
const answers = (text) => text.trim() === answer;
const responses = createOpenAI({ baseURL: url, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "ostinato", baseURL: url });
for (const model of chats) {
  const chat = { model, messages, temperature: 0 };
  await works("openai", `chat.completions.create (${model})`, async () => (await client.chat.completions.create(chat)).choices[0].message.content, answers);
  await works("openai", `chat.completions.create, stream (${model})`, async () => joined(await client.chat.completions.create({ ...chat, stream: true }), (c) => c.choices[0]?.delta.content), answers);
  const text = { model, prompt: `user: ${question}\nassistant:`, temperature: 0, max_tokens: 40 };
  await works("openai", `completions.create (${model})`, async () => (await client.completions.create(text)).choices[0].text, answers);
  await works("openai", `completions.create, stream (${model})`, async () => joined(await client.completions.create({ ...text, stream: true }), (c) => c.choices[0]?.text), answers);
  await works("openai", `responses.create, stream (${model})`, async () => joined(await client.responses.create({ model, input: question, temperature: 0, stream: true }), (e) => (e.type === "response.output_text.delta" ? e.delta : "")), answers);
  await works("openai", `responses.create (${model})`, async () => (await client.responses.create({ model, input: question, temperature: 0 })).output_text, answers);
  await works("@ai-sdk/openai", `generateText (${model})`, async () => (await generateText({ model: responses(model), prompt: question, temperature: 0, maxRetries: 0 })).text, answers);
  await works("@ai-sdk/openai", `streamText (${model})`, async () => joined(streamText({ model: responses(model), prompt: question, temperature: 0, maxRetries: 0 }).textStream, (t) => t), answers);
  await works("@ai-sdk/openai-compatible", `generateText (${model})`, async () => (await generateText({ model: compatible(model), prompt: question, temperature: 0, maxRetries: 0 })).text, answers);
  await works("@ai-sdk/openai-compatible", `streamText (${model})`, async () => joined(streamText({ model: compatible(model), prompt: question, temperature: 0, maxRetries: 0 }).textStream, (t) => t), answers);
}
await works("openai", "embeddings.create", async () => (await client.embeddings.create({ model: "departments", input: [complaint, crash] })).data, (data) => sameVectors(data.map((item) => item.embedding), complaint, crash));
for (const kind of ["float", "base64"]) {
  const vector = (found) => (typeof found === "string" ? [...new Float32Array(Uint8Array.from(Buffer.from(found, "base64")).buffer)] : found);
  await works("openai", `embeddings.create, ${kind}`, async () => (await client.embeddings.create({ model: "departments", input: [complaint], encoding_format: kind })).data, (data) => (typeof data[0].embedding === "string") === (kind === "base64") && sameVectors([vector(data[0].embedding)], complaint));
}
await works("@ai-sdk/openai-compatible", "embed", async () => (await embed({ model: compatible.textEmbeddingModel("departments"), value: complaint, maxRetries: 0 })).embedding, (vector) => sameVectors([vector], complaint));
await works("@ai-sdk/openai-compatible", "embedMany", async () => (await embedMany({ model: compatible.textEmbeddingModel("departments"), values: [complaint, crash], maxRetries: 0 })).embeddings, (vectors) => sameVectors(vectors, complaint, crash));
await works("@ai-sdk/openai", "embed", async () => (await embed({ model: responses.textEmbeddingModel("departments"), value: complaint, maxRetries: 0 })).embedding, (vector) => sameVectors([vector], complaint));
await works("openai", "models.list", async () => joined(client.models.list(), (m) => `${m.id} `), (ids) => ids.includes("departments"));
await works("openai", "moderations.create", async () => (await client.moderations.create({ model: "tickets", input: crash })).results[0], (result) => result.flagged && result.categories.bug === true && result.categories.billing === false);
await refused("openai", "chat.completions.create, unknown model", () => client.chat.completions.create({ model: "nobody", messages }), "model not found: 'nobody'");
report();

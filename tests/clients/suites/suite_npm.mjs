// The npm packages `openai`, `@ai-sdk/openai` (responses) and `@ai-sdk/openai-compatible` (chats). Run in their folder.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";
import OpenAI, { toFile } from "openai";

const url = `${process.argv[2]}/v1`;
const [question, answer, complaint] = ["drink?", "Grüner Tee 緑茶.", "I was charged twice on my card"];
const chats = ["assistant-lstm", "assistant-transformer"];
const messages = [{ role: "user", content: question }];
const results = [];

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
const add = (name, call, result, detail) =>
  results.push({ client: `npm ${name} ${version(name)}`, call, result, detail: String(detail).slice(0, 300) });

async function works(name, call, run, right) {
  try {
    const value = await run();
    const met = right(value);
    add(name, call, met ? "works" : "FAILED", met ? "" : JSON.stringify(value));
  } catch (error) {
    add(name, call, "FAILED", error);
  }
}

async function refused(name, call, run, message) {
  try {
    await run();
    add(name, call, "FAILED", "was accepted");
  } catch (error) {
    add(name, call, String(error).includes(message) ? "refused" : "FAILED", `${error.constructor.name}: ${message}`);
  }
}

async function joined(pieces, text) {
  let whole = "";
  for await (const piece of pieces) whole += text(piece) ?? "";
  return whole;
}

const answers = (text) => text.trim() === answer;
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
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
await works("openai", "embeddings.create", async () => (await client.embeddings.create({ model: "departments", input: [complaint, "b"] })).data, (data) => data.length === 2 && data[0].embedding.length > 1);
await works("@ai-sdk/openai-compatible", "embed", async () => (await embed({ model: compatible.textEmbeddingModel("departments"), value: complaint, maxRetries: 0 })).embedding, (vector) => vector.length > 1);
await works("openai", "models.list", async () => joined(client.models.list(), (m) => `${m.id} `), (ids) => ids.includes("departments"));
await works("openai", "moderations.create", async () => (await client.moderations.create({ model: "tickets", input: "the app crashes at start" })).results[0], (result) => result.flagged && result.categories.bug === true && result.categories.billing === false);
const upload = async (name, purpose, content) => client.files.create({ file: await toFile(Buffer.from(content), name), purpose });
await works("openai", "files.create, retrieve, content, list, delete", async () => {
  const made = await upload("a.csv", "fine-tune", "text,label\ngood,yes\n");
  const found = await client.files.retrieve(made.id);
  const content = await (await client.files.content(made.id)).text();
  const listed = await joined(client.files.list(), (f) => `${f.id} `);
  const gone = await client.files.delete(made.id);
  return { name: found.filename, content, listed: listed.includes(made.id), deleted: gone.deleted };
}, (v) => v.name === "a.csv" && v.content === "text,label\ngood,yes\n" && v.listed && v.deleted);
await works("openai", "batches.create, retrieve, output", async () => {
  const line = { custom_id: "one", method: "POST", url: "/v1/embeddings", body: { model: "departments", input: complaint } };
  const input = await upload("requests.jsonl", "batch", JSON.stringify(line));
  let batch = await client.batches.create({ input_file_id: input.id, endpoint: "/v1/embeddings", completion_window: "24h" });
  for (const end = Date.now() + 300_000; ["validating", "in_progress", "finalizing"].includes(batch.status); ) {
    if (Date.now() > end) throw new Error(`the batch is still ${batch.status}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  const [output] = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((l) => JSON.parse(l));
  const expected = (await client.embeddings.create({ model: "departments", input: complaint })).data[0].embedding;
  const found = output.response.body.data[0].embedding;
  return { id: output.custom_id, near: found.length === expected.length && found.every((x, i) => Math.abs(x - expected[i]) < 1e-4) };
}, (v) => v.id === "one" && v.near);
await refused("openai", "chat.completions.create, unknown model", () => client.chat.completions.create({ model: "nobody", messages }), "model not found: 'nobody'");
console.log(JSON.stringify(results));

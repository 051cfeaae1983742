// Records what the calls of npm packages return. It is copied into the folder of the packages, like the suites.
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

export const [base, url] = [process.argv[2], `${process.argv[2]}/v1`];
export const [complaint, crash] = ["I was charged twice on my card", "the app crashes at start"];
export const client = new OpenAI({ baseURL: url, apiKey: "none", adminAPIKey: "none", maxRetries: 0 });
const results = [];

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
const add = (name, call, result, detail) =>
  results.push({ client: `npm ${name} ${version(name)}`, call, result, detail: String(detail).slice(0, 300) });

export async function works(name, call, run, right) {
  try {
    const value = await run();
    const met = await right(value);
    add(name, call, met ? "works" : "FAILED", met ? "" : JSON.stringify(value));
  } catch (error) {
    add(name, call, "FAILED", error);
  }
}

export async function refused(name, call, run, message) {
  try {
    await run();
    add(name, call, "FAILED", "was accepted");
  } catch (error) {
    const met = String(error).includes(message);
    add(name, call, met ? "refused" : "FAILED", met ? `${error.constructor.name}: ${message}` : error);
  }
}

export async function joined(pieces, text) {
  let whole = "";
  for await (const piece of pieces) whole += text(piece) ?? "";
  return whole;
}

export const missing = (name, call, why) => add(name, call, "missing", why);

export const report = () => console.log(JSON.stringify(results));

// The vectors of these texts, requested without a client.
export async function sameVectors(actual, ...texts) {
  const body = JSON.stringify({ model: "departments", input: texts, encoding_format: "float" });
  const reply = await fetch(`${url}/embeddings`, { method: "POST", body, headers: { "content-type": "application/json" } });
  const expected = (await reply.json()).data.map((item) => item.embedding);
  const near = (vector, wanted) => vector.length === wanted.length && wanted.length > 1 && wanted.every((x, i) => Math.abs(x - vector[i]) <= 1e-6);
  return actual.length === expected.length && expected.every((wanted, i) => near(actual[i], wanted));
}

export const upload = async (name, purpose, content) => client.files.create({ file: await toFile(Buffer.from(content), name), purpose });

// Retrieve an object until it satisfies the condition.
export async function until(met, retrieve) {
  for (const end = Date.now() + 300_000; ; ) {
    const found = await retrieve();
    if (met(found)) return found;
    if (Date.now() > end) throw new Error(`still ${found.status}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

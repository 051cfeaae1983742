// Code that calls a version, in the dialect of each client, and code that reads and evaluates the version.

import { args, commented, curl, imports, literal, openai, python, requests, secret, shell } from "../snippets.js";
import { key } from "../api.js";

const [TEXT, PROMPT, TOKENS] = ["some text", "Once upon a time", 40];
const MOST_LABELS = 10;  // in a question

// The dialects that apply to the version: by its task, by its kind of input, and by whether it has embeddings.
export function calls(version) {
  const reference = version.aliases.length ? `${version.model}@${version.aliases[0]}` : version.id;
  const numeric = version.config.input === "features";
  const shared = { torchserve: "TorchServe", huggingface: "Hugging Face", triton: "Open Inference" };
  if (version.task === "generation") return generation(version, reference, shared);
  const embeds = version.architecture !== "linear" && !numeric;
  const vectors = embeds ? { "OpenAI": () => embeddings(reference), "Ollama": () => ollama(`reply = client.embed${args({ model: reference, input: [TEXT] })}\nprint(len(reply.embeddings[0]))`) } : {};
  const embed = () => shell("ostinato", "embed", "--model", reference, TEXT);
  if (version.task === "embedding") return { curl: () => curl("POST", "/v1/embeddings", { model: reference, input: [TEXT] }), cli: embed, ...vectors };
  const input = numeric ? [[step(version)]] : [TEXT];
  const body = { model: reference, input };
  return {
    curl: () => curl("POST", "/v1/classify", body), python: () => python("POST", "/v1/classify", body),
    cli: () => (numeric ? "" : shell("ostinato", "classify", "--model", reference, TEXT)),
    ...vectors,
    [shared.huggingface]: () => (numeric ? "" : hub(reference, `for entry in client.text_classification(${literal(TEXT)}):\n    print(entry.label, entry.score)`)),
    [shared.triton]: () => triton(reference, numeric ? series(step(version)) : texts("text", TEXT), version.task === "regression" ? "value" : version.task === "multilabel" ? "probs" : "label"),
    [shared.torchserve]: () => curl("POST", `/predictions/${encodeURIComponent(reference)}`, { data: numeric ? [input[0]] : TEXT }),
    "Typed decisions": () => (numeric ? "" : decisions(version, reference)),
  };
}

const step = (version) => new Array(Math.max(1, version.config.features || 1)).fill(0);

function generation(version, reference, shared) {
  const body = { model: reference, prompt: PROMPT, max_tokens: TOKENS };
  const messages = [{ role: "user", content: "Hello" }];
  const chat = () => openai(`reply = client.chat.completions.create${args({ model: reference, messages, max_tokens: TOKENS })}\nprint(reply.choices[0].message.content)`);
  return {
    curl: () => curl("POST", "/v1/completions", body), python: () => python("POST", "/v1/completions", body),
    cli: () => shell("ostinato", "generate", "--model", reference, "--max-tokens", TOKENS, PROMPT),
    "OpenAI": () => openai(`reply = client.completions.create${args(body)}\nprint(reply.choices[0].text)`),
    "OpenAI chat": version.config.chat_template ? chat : null,
    "Ollama": () => ollama(`reply = client.generate${args({ model: reference, prompt: PROMPT, options: { num_predict: TOKENS } })}\nprint(reply.response)`),
    [shared.huggingface]: () => hub(reference, `print(client.text_generation(${literal(PROMPT)}, max_new_tokens=${TOKENS}))`),
    [shared.triton]: () => triton(reference, texts("text_input", PROMPT), "text_output", `, parameters={"max_tokens": ${TOKENS}}`),
    [shared.torchserve]: () => curl("POST", `/predictions/${encodeURIComponent(reference)}`, { data: PROMPT, max_new_tokens: TOKENS }),
  };
}

const embeddings = (reference) => openai(`reply = client.embeddings.create${args({ model: reference, input: [TEXT] })}\nprint(len(reply.data[0].embedding))`);

const headers = () => (key() ? `, headers={"Authorization": "Bearer " + ${secret()}}` : "");
const ollama = (lines) => `${imports("from ollama import Client")}client = Client(host=${literal(location.origin)}${headers()})\n${lines}`;

function hub(reference, lines) {
  const token = key() ? `, token=${secret()}` : "";
  return `${imports("from huggingface_hub import InferenceClient")}client = InferenceClient(${literal(`${location.origin}/models/${encodeURIComponent(reference)}`)}${token})\n${lines}`;
}

// The lines that create the tensor for a text, or for a series with one step.
const texts = (name, text) => `tensor = InferInput(${literal(name)}, [1], "BYTES")\ntensor.set_data_from_numpy(np.array([${literal(text)}.encode()], dtype=np.object_))`;
const series = (values) => `tensor = InferInput("series", [1, 1, ${values.length}], "FP64")\ntensor.set_data_from_numpy(np.array([[${literal(values)}]], dtype=np.float64))`;

function triton(reference, tensor, output, parameters = "") {
  const address = `${literal(location.host)}${location.protocol === "https:" ? ", ssl=True" : ""}`;
  return [`${imports("import numpy as np", "from tritonclient.http import InferenceServerClient, InferInput")}client = InferenceServerClient(${address})`, tensor,
    `result = client.infer(${literal(reference)}, [tensor]${parameters}${headers()})`, `print(result.as_numpy(${literal(output)}))`].join("\n");
}

// A choice between the labels, one yes-or-no question for each label, or a level on a scale of values.
function decisions(version, reference) {
  const labels = version.labels.slice(0, MOST_LABELS);
  const questions = {
    classification: () => [{ type: "choice", name: "label", instructions: "Which label applies?", choices: labels.map((value) => ({ value })) }],
    multilabel: () => labels.map((name) => ({ type: "predicate", name, instructions: `Does ${name} apply?` })),
    regression: () => [{ type: "score", name: "value", instructions: "How much?", levels: ["0", "1", "2"].map((label) => ({ label })) }],
  }[version.task]();
  return openai(`decision = client.decisions.create${args({ model: reference, input: TEXT, questions })}\nfor answer in decision.answers:\n    print(answer)`);
}

// Code that reads a version, and evaluates it on a file.
export function reads(version) {
  const path = `/v1/registry/models/${encodeURIComponent(version.model)}/versions/${version.version}`;
  const evaluation = { model: version.id, file: "FILE_ID" };
  const [read, evaluate, list] = ["This version, with its metrics", "Evaluate the version on an uploaded file", "Its evaluations"];
  return {
    curl: () => commented([read, curl("GET", path)], [evaluate, curl("POST", "/v1/evaluations", evaluation)], [list, curl("GET", `${path}/evaluations`)]),
    python: () => requests(["GET", path, null, read], ["POST", "/v1/evaluations", evaluation, evaluate], ["GET", `${path}/evaluations`, null, list]),
    cli: () => commented([read, shell("ostinato", "models", "show", version.id)], ["Upload a file and evaluate the version on it", shell("ostinato", "evaluate", version.id, "data.csv")]),
  };
}

// One call of every family of routes, with the types that openapi-typescript generates from the OpenAPI document.
// Arguments: the URL of the service and an API key.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , baseUrl = "", key = ""] = process.argv;
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });
const called: string[] = [];
client.use({ onRequest: ({ schemaPath }) => void called.push(schemaPath) });

function got<T>(reply: { data?: T; error?: unknown; response: Response }): T {
  if (reply.data === undefined) {
    throw new Error(`${reply.response.url}: ${reply.response.status} ${JSON.stringify(reply.error)}`);
  }
  return reply.data;
}

function form(body: object): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(body)) data.append(name, value as string | Blob);
  return data;
}

// classification, generation, embeddings: with the required fields only
const classified = got(await client.POST("/v1/classify", { body: { input: "I love this!" } }));
const first = classified.data[0];
if (first === undefined || first.probs?.length !== 3) throw new Error("no probabilities");
const completion = got(
  await client.POST("/v1/completions", { body: { model: "demo-text-lstm", prompt: "Once upon", max_tokens: 4 } }),
);
const text: string | undefined = "choices" in completion ? completion.choices[0]?.text : undefined;
if (!text) throw new Error("no text");
const answered = got(
  await client.POST("/v1/chat/completions", {
    body: { model: "demo-text-lstm", messages: [{ role: "user", content: "Hi" }], max_completion_tokens: 4 },
  }),
);
if (!("choices" in answered) || answered.choices[0]?.message.content !== "user") throw new Error("no answer");
const responded = got(
  await client.POST("/v1/responses", { body: { model: "demo-text-lstm", input: "Hi", max_output_tokens: 4 } }),
);
if (!("output" in responded) || responded.output[0]?.content[0]?.text !== "user") throw new Error("no response");
const embedded = got(await client.POST("/v1/embeddings", { body: { model: "demo-sentiment-lstm", input: ["a"] } }));
if (embedded.data[0]?.object !== "embedding") throw new Error("no vector");

// the dialects of other servers
const name = "demo-sentiment-lstm";
const predicted = got(await client.POST("/predict", { body: { inputs: [["I love this!"]] } }));
if (!Array.isArray(predicted)) throw new Error("no scores");
const share = got(
  await client.POST("/predictions/{name}", { params: { path: { name } }, body: { data: "I love this!" } }),
);
if (typeof share !== "object" || Array.isArray(share)) throw new Error("no probabilities");
const inferred = got(
  await client.POST("/v2/models/{name}/infer", {
    params: { path: { name } },
    body: { inputs: [{ name: "text", datatype: "BYTES", shape: [1], data: ["I love this!"] }] },
  }),
);
if (typeof inferred === "string" || inferred.outputs[0]?.name !== "label") throw new Error("no output");
const continued = got(
  await client.POST("/api/generate", {
    body: { model: "demo-text-lstm", prompt: "Once", stream: false, options: { num_predict: 4 } },
  }),
);
if (!("response" in continued) || continued.response?.length !== 4) throw new Error("no generated text");

// tokens
const split = got(await client.POST("/tokenize", { body: { prompt: "Hi" } }));
const tokens = "tokens" in split ? split.tokens : [];
got(await client.POST("/detokenize", { body: { tokens } }));

// models
const models = got(await client.GET("/v1/models", { params: { query: { limit: 5 } } }));
const model = models.data[0];
if (model === undefined) throw new Error("no model");
got(await client.GET("/v1/models/{model}", { params: { path: { model: model.id } } }));

// files and uploads
const table = new Blob(["text,label\nI love this,positive\nNo,negative\n"]);
const file = got(
  await client.POST("/v1/files", {
    body: { file: "reviews.csv", purpose: "fine-tune" },
    bodySerializer: (body) => {
      const data = form({ purpose: body.purpose });
      data.append("file", table, body.file);
      return data;
    },
  }),
);
const upload = got(
  await client.POST("/v1/uploads", { body: { bytes: 11, filename: "reviews.csv", purpose: "fine-tune" } }),
);
got(await client.POST("/v1/uploads/{upload_id}/cancel", { params: { path: { upload_id: upload.id } } }));

// training
const request: components["schemas"]["JobRequest"] = {
  model: "lstm",
  training_file: file.id,
  training: { epochs: 1, class_weights: "balanced" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: "auto" } } },
};
const job = got(await client.POST("/v1/fine_tuning/jobs", { body: request }));
if (!("id" in job)) throw new Error("only a dry run returns an estimate or a stream");
const events = got(
  await client.GET("/v1/fine_tuning/jobs/{job_id}/events", { params: { path: { job_id: job.id } } }),
);
got(await client.POST("/v1/fine_tuning/jobs/{job_id}/cancel", { params: { path: { job_id: job.id } } }));

// evaluations
const evaluation = got(await client.POST("/v1/evaluations", { body: { model: model.id, file: file.id } }));
got(await client.POST("/v1/evaluations/{evaluation_id}/cancel", { params: { path: { evaluation_id: evaluation.id } } }));

// batches
const batches = got(await client.GET("/v1/batches"));
if (batches.data.length !== 0) throw new Error("there is a batch");

// webhooks
const hook = got(
  await client.POST("/v1/webhook_endpoints", { body: { name: "ours", url: "https://example.com/hook", event_types: ["batch.completed"] } }),
);
got(
  await client.DELETE("/v1/webhook_endpoints/{webhook_endpoint_id}", { params: { path: { webhook_endpoint_id: hook.id } } }),
);

// registry
const path = { name, alias: "staging" };
got(await client.PUT("/v1/registry/models/{name}/aliases/{alias}", { params: { path }, body: { version: 1 } }));
const version = got(
  await client.GET("/v1/registry/models/{name}/versions/{version}", {
    params: { path: { name: path.name, version: 1 } },
  }),
);

// operations
const ready = got(await client.GET("/readyz"));
const engines = got(await client.GET("/v1/engine"));
const seen = [first.label, text, "object" in events && events.object, version.labels, ready.status, engines.engines.length];
console.log(JSON.stringify([...seen, called]));

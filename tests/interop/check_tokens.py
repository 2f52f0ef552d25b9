"""Unigram tokenizers beside Hugging Face's tokenizers: equal ids for WordNet's glosses, odd texts and pairs.

    python check_tokens.py BUILD_FOLDER [FOLDER ...]

The tokenizers are trained here, by sentencepiece, converted by transformers, and by tokenizers; others are in the folders that are named.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from transformers import XLMRobertaTokenizer
from transformers.convert_slow_tokenizer import SpmConverter, XLMRobertaConverter

warnings.simplefilter("ignore")
program = pathlib.Path(sys.argv[1]) / "tests" / "interop_tokens"
wordnet = pathlib.Path("/usr/share/wordnet")  # Debian's wordnet-base
failed = 0
rng = random.Random(11)


def wordnet_glosses():
    lines = (line for name in ("noun", "verb", "adj", "adv") for line in open(wordnet / f"data.{name}", encoding="utf-8"))
    return [line.split(" | ", 1)[1].rstrip("\n") for line in lines if " | " in line]


plain = """the quick brown fox jumps over lazy dogs while naïve café owners résumé München Straße œuvre España señor łódź čeština
ελληνικά μήνυμα русский язык მშვიდობა שלום مرحبا नमस्ते दुनिया ไทย 東京 日本語 中文 한국어 don't 3.14 #hash @at 2024 50% x^2""".split()
odd = """Ａｒｔ ｶﾞ ﬁne oﬃce e\u0301 a\u0323\u0307 Ａ\u0301 ª\u0301 ½\u0300 ² ㎏ ™ © ™\u0301 ﷺ \u0344 İ ẞ ΑΣ ﷲ Ⅷ ① 𝐁𝟙 \U0001d15e q\u0307\u0323 가 가 ｱ\uff9e \u0e33 \u0958
\u200d \u200b \u200c \ufeff \u00ad \u2060 \u061c \u2028 \u2029 \u0085 \u00a0 \u3000 \u2003 \u1680 \u180e \u0000 \u0001 \u0007 \u001f \u007f \u008f \u009f \ufffd
👩\u200d👩\u200d👧 🇩🇪🇫🇷 👍🏽 ❤️ 1️⃣ 😀😀 ☺ ▁ ▁▁a <mask> <s> </s> <unk> <pad> <mask><mask> <MASK> <0x41> \r\n \t \n  नि क्ष \u0600\u0661 \u0600² ²\u0897 ²\u1acf ￼ \U0010ffff \ue000 \ufdd0""".split(" ")
odd += ["  ", "     ", " " * 40, "a" * 300, "é" * 200, "中" * 100, "\u0301" * 100, "😀" * 50, "\r\n\r\n", "`` ''"]


def random_texts(count):
    ranges = [(0x20, 0x7f), (0xa0, 0x180), (0x300, 0x370), (0x370, 0x500), (0x590, 0x700), (0x900, 0xa00), (0xe00, 0xe80), (0x1100, 0x1200), (0x2000, 0x2070),
              (0x2070, 0x2200), (0x2460, 0x2500), (0x3000, 0x3100), (0x3200, 0x3400), (0x4e00, 0x4e80), (0xac00, 0xac80), (0xf900, 0xfb50), (0xfe00, 0xff00),
              (0xff00, 0xfff0), (0x1d400, 0x1d500), (0x1f1e6, 0x1f200), (0x1f300, 0x1f400)]
    found = []
    while len(found) < count:
        parts = []
        for _ in range(rng.randrange(1, 12)):
            kind = rng.randrange(4)
            parts.append(rng.choice(plain) if kind == 0 else rng.choice(odd) if kind == 1 else chr(rng.randrange(*rng.choice(ranges))) if kind == 2
                         else rng.choice([" ", " ", "  ", "\u0301", "<mask>"]))
        found.append(rng.choice(["", " "]).join(parts))
    return found


def check(name, tokenizer, texts):
    """Every text, and pairs of some with and without a limit."""
    global failed
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = [[text] for text in texts]
    found = [tokenizer.encode(text) for text in texts]
    for _ in range(200):
        a, b, most = rng.choice(texts), rng.choice(texts), rng.choice([None, 6, 7, 11, 24, 25, 60])
        side = rng.choice(["left", "right"])
        tokenizer.no_truncation() if most is None else tokenizer.enable_truncation(most, strategy="longest_first", direction=side)
        if len(tokenizer.encode("", "").ids) <= (most or 99):
            rows.append([a, b, most, side])
            found.append(tokenizer.encode(a, b))
    tokenizer.no_truncation()
    expected = [[e.ids, e.type_ids] for e in found]
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        (place / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        (place / "texts").write_text(json.dumps(rows))
        run = subprocess.run([program, place, place / "texts", place / "out"], capture_output=True, text=True)
        if run.returncode != 0:
            failed += 1
            print(f"  FAIL {name}: {run.stderr.strip()}")
            return
        found = json.loads((place / "out").read_text())
    wrong = [i for i, (a, b) in enumerate(zip(found, expected)) if a != b]
    failed += bool(wrong) or len(found) != len(expected)
    print(f"  {'FAIL' if wrong else 'ok  '} {name}: {len(wrong)} of {len(rows)} texts differ, {sum(len(e[0]) for e in expected)} ids")
    for i in wrong[:3]:
        print("       ", ascii(rows[i]), found[i][0], expected[i][0])


class Slow:
    """What transformers' converters ask of a tokenizer that they convert."""
    def __init__(self, path):
        self.vocab_file = path

    def convert_tokens_to_ids(self, token):
        return {"<s>": 0, "</s>": 2}[token]


def changed(tokenizer, **parts):
    """A tokenizer with other parts, as JSON."""
    return Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), **parts}))


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


corpus = wordnet_glosses() if wordnet.exists() else [" ".join(rng.choices(plain, k=9)) for _ in range(3000)]
multilingual = [" ".join(rng.choices(plain + odd, k=9)).replace("\n", " ").replace("\0", "") for _ in range(400)]
odd_texts = ["", " ", *odd, *(a + b for a in odd for b in ("\u0301", "a", " ", "\u200d")), *random_texts(4000)]
converted = {}
with tempfile.TemporaryDirectory() as temporary:
    for rule in ("nmt_nfkc", "nfkc_cf", "identity"):
        path = f"{temporary}/{rule}"
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus[::12] + multilingual), model_prefix=path, vocab_size=3000, model_type="unigram",
                                                 normalization_rule_name=rule, hard_vocab_limit=False, character_coverage=0.999, minloglevel=2)
        converted[rule] = XLMRobertaConverter(Slow(path + ".model")).converted()
        converted[rule].add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
        if rule == "nmt_nfkc":
            table = XLMRobertaConverter(Slow(path + ".model")).proto.normalizer_spec.precompiled_charsmap
    spm = f"{temporary}/bytes"
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus[::12]), model_prefix=spm, vocab_size=1500, model_type="unigram", byte_fallback=True,
                                             hard_vocab_limit=False, minloglevel=2)
    generic = SpmConverter(Slow(spm + ".model"))
    SpmConverter.handle_byte_fallback = True
    with_bytes = generic.converted()
    from_proto = SpmConverter.build_tokenizer_from_spm_proto(generic.proto, generic.vocab(generic.proto))

xlmr = converted["nmt_nfkc"]
written = XLMRobertaTokenizer(vocab=[tuple(piece) for piece in json.loads(xlmr.to_str())["model"]["vocab"]], _spm_precompiled_charsmap=table).backend_tokenizer
check("XLM-R as transformers writes it", written, [*corpus, *odd_texts])
check("XLM-R, converted from SentencePiece", xlmr, [*corpus[::10], *odd_texts])
for scheme in ("always", "first", "never"):
    for split in (True, False):
        check(f"Metaspace, {scheme}, {'split' if split else 'whole'}", changed(xlmr, pre_tokenizer=metaspace(scheme, split)), odd_texts)
check("no pre-tokenizer", changed(xlmr, pre_tokenizer=None), odd_texts)
check("WhitespaceSplit alone", changed(xlmr, pre_tokenizer={"type": "WhitespaceSplit"}), odd_texts)
check("case folding", converted["nfkc_cf"], odd_texts)
check("no table", converted["identity"], odd_texts)
check("bytes of what is unknown", with_bytes, odd_texts)
check("the converter of unknown folders", from_proto, odd_texts)
for normalized in (False, True):
    more = changed(xlmr)
    more.add_tokens([AddedToken("Ａrt", normalized=normalized), AddedToken("fox", single_word=True, normalized=normalized), AddedToken("é", rstrip=True, normalized=normalized)])
    check(f"added tokens {'of the normalised text' if normalized else 'of the text'}", more, odd_texts)

trained = Tokenizer(Unigram())
trained.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Lowercase(),
                                           normalizers.Replace("``", '"'), normalizers.Replace("aa", "b"), normalizers.Strip()])
trained.pre_tokenizer = pre_tokenizers.Metaspace()
trained.train_from_iterator(corpus[::20] + multilingual, UnigramTrainer(vocab_size=2000, show_progress=False, unk_token="<unk>", special_tokens=["<s>", "</s>", "<unk>", "<mask>"]))
trained.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)])
check("UnigramTrainer of tokenizers", trained, [*corpus[::10], *odd_texts])
for folder in sys.argv[2:]:
    check(folder, Tokenizer.from_file(f"{folder}/tokenizer.json"), [*corpus[::4], *odd_texts])
sys.exit(failed > 0)

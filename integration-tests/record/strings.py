"""Two thousand strings that a tokenizer could get wrong."""

import unicodedata
from random import Random

import writing

COUNT = 2000

SPECIAL = "<|endoftext|> <|im_start|> <|im_end|> <repo_name> <file_sep> <issue_comment> <jupyter_code> <empty_output>".split()
SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u200f", "\u202e", "\u2066", "\ufe0f"]
MARKS = [chr(point) for point in range(0x300, 0x330)]
ACCENTED = "café naïve Ångström Übergröße señor façade Łódź smørrebrød Đặng Việt Nam 각국 がぎぐ ΐ ﬁ ½ Ⅷ ™ ① ２０２４ ｆｕｌｌ".split()
CONTRACTIONS = "I'm you're he's we've they'll she'd can't won't o'clock rock'n'roll I'M YOU'RE 'tis it’s y'all'd've".split()
NUMERALS = ["٠١٢٣٤٥", "०१२३", "๑๒๓", "Ⅳ", "½", "²³", "①②", "一二三", "１２３", "𝟙𝟚", "𒐕"]

FIXED = [
    "", " ", "  ", "\n", "\t", "\r", "\r\n", "\x00", "a", "A", "0", "é", "e\u0301", "猫", "🙂", "\ufeff", "\ufffd", "\u200d",
    "Hello, world!", " Hello", "Hello ", "  Hello  ", "hello\nworld", "hello\r\nworld\r\n", "\n\n\n", "\t\t\tx", "a\u00a0b",
    "<|im_start|>", "<|im_start|><|im_end|>", " <|im_start|> ", "a<|im_end|>b", "<|im_start|", "<|IM_START|>", "<| im_start |>",
    "<|endoftext|>" * 3, "<|im_start|>user\nhi<|im_end|>\n", "<s>", "</s>", "[INST]", "<repo_name>x<file_sep>y", "<reponame >",
    "2024", "12345678901234567890", "1,000,000.00", "-1e-5", "0x1F", "v1.2.3", "a1b2c3", "3rd 4TH", "١٢٣", "½ cup", "x²+y²",
    "don't", "DON'T", "don’t", "'s 't 're 've 'm 'll 'd", "''''", "it's'nt", "\u0301", "a\u0301\u0302\u0303", "\u1112\u1161\u11ab",
    "한", "ﷺ", "ภาษาไทย", "हिन्दी", "क्षत्रिय", "مرحبا بالعالم", "שָׁלוֹם", "日本語。テスト", "こんにちは、世界！", "ＡＢＣ", "𝕳𝖊𝖑𝖑𝖔", "𠮷野家",
    "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷🇯🇵", "❤️", "❤", "1️⃣", "\U000e0041", "\U0010ffff", "\ue000", "\ufdd0", "\U00040000", "\U00080000",
    "\x01\x02\x03", "\x04", "\x06a\x06", "a\x13\x14\x16\x1db", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f", "tab\there", "_" * 50, "=" * 80,
    "a" * 300, "ab" * 100, " " * 100, "\n" * 40, "!?" * 30, "…—–‘’“”«»", "C:\\Users\\me\\x.txt", "/usr/lib/x.so.1", "me@example.org",
    "camelCaseIdentifier", "snake_case_identifier", "SCREAMING_CASE", "kebab-case-name", "antidisestablishmentarianism",
]


def strings() -> list[str]:
    """Distinct, in a fixed order: the hand-written ones, then every kind in turn."""
    rng = Random(2000)
    seen = dict.fromkeys(FIXED)
    while len(seen) < COUNT:
        for make in KINDS:
            seen.setdefault(make(rng))
    return list(seen)[:COUNT]


def draw(rng: Random, choices: list[str], most: int) -> str:
    return "".join(rng.choice(choices) for _ in range(rng.randrange(1, most)))


def word(rng: Random) -> str:
    return rng.choice(writing.sentence(rng).split())


def cut(rng: Random, text: str) -> str:
    """A slice: strings that start and end in mid-word, mid-cluster or mid-indent."""
    start = rng.randrange(len(text))
    return text[start : start + rng.randrange(1, 90)]


def prose(rng: Random) -> str:
    return writing.prose(rng, rng.randrange(1, 3))


def code(rng: Random) -> str:
    return cut(rng, writing.code(rng))


def crlf(rng: Random) -> str:
    return code(rng).replace("\n", rng.choice(["\r\n", "\r", "\n\r"]))


def whitespace(rng: Random) -> str:
    parts = [rng.choice(SPACES) * rng.randrange(1, 6) + rng.choice(["", word(rng)]) for _ in range(rng.randrange(1, 6))]
    return "".join(parts)


def digits(rng: Random) -> str:
    number = str(rng.randrange(10 ** rng.randrange(1, 25)))
    return rng.choice(["", "$", " ", "a", "-", "№ "]) + number + rng.choice(["", "%", ".5", "kg", " ", ",000"])


def numerals(rng: Random) -> str:
    return f"{word(rng)}{rng.choice(['', ' '])}{draw(rng, NUMERALS, 4)}{rng.choice(['', ' '])}{rng.randrange(100)}"


def table(rng: Random) -> str:
    return cut(rng, writing.table(rng, 4))


def contractions(rng: Random) -> str:
    return " ".join(rng.choice([rng.choice(CONTRACTIONS), word(rng)]) for _ in range(rng.randrange(1, 7)))


def script(rng: Random) -> str:
    text = writing.script(rng, rng.choice(list(writing.SCRIPTS)), 1)
    return rng.choice([text, text, cut(rng, text)])


def cjk(rng: Random) -> str:
    return cut(rng, writing.script(rng, rng.choice(["chinese", "japanese", "korean"]), 2))


def indic(rng: Random) -> str:
    return cut(rng, writing.script(rng, rng.choice(["hindi", "thai", "arabic"]), 2))


def emoji(rng: Random) -> str:
    return rng.choice(["", word(rng) + " "]) + cut(rng, writing.emoji(rng, 6))


def accents(rng: Random) -> str:
    text = " ".join(rng.choice([rng.choice(ACCENTED), word(rng)]) for _ in range(rng.randrange(1, 6)))
    return unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKC", "NFKD"]), text)


def marks(rng: Random) -> str:
    return "".join(letter + (draw(rng, MARKS, 4) if rng.random() < 0.5 else "") for letter in word(rng))


def invisible(rng: Random) -> str:
    return "".join(letter + (rng.choice(INVISIBLE) if rng.random() < 0.3 else "") for letter in sentence_start(rng))


def sentence_start(rng: Random) -> str:
    return writing.sentence(rng)[:20]


def controls(rng: Random) -> str:
    return "".join(rng.choice([chr(rng.randrange(32)), chr(rng.randrange(127, 160)), word(rng)]) for _ in range(rng.randrange(1, 8)))


def special(rng: Random) -> str:
    pieces = [*SPECIAL, word(rng), " ", "\n", "<|", "|>", "user", rng.choice(SPECIAL)[:-1], rng.choice(SPECIAL).upper()]
    return draw(rng, pieces, 8)


def long_word(rng: Random) -> str:
    return "".join(rng.choice(writing.NOUNS + writing.VERBS + ["ß", "æ", "X"]) for _ in range(rng.randrange(3, 15)))


def url(rng: Random) -> str:
    return writing.url(rng)


def mixed(rng: Random) -> str:
    return cut(rng, writing.mixed(rng, 4))


def points(rng: Random) -> str:
    """Any code points but surrogates, the lower planes more often."""
    tops = [0x250, 0x3000, 0xD800, 0x1FBFF, 0x110000]
    drawn = [rng.randrange(rng.choice(tops)) for _ in range(rng.randrange(1, 12))]
    return "".join(chr(point) for point in drawn if not 0xD800 <= point < 0xE000)


def glued(rng: Random) -> str:
    kinds = [whitespace, digits, contractions, cjk, indic, emoji, marks, invisible, special, points]
    return "".join(rng.choice(kinds)(rng) for _ in range(2))


# A kind named more than once is drawn more often.
KINDS = [
    prose, code, code, crlf, whitespace, whitespace, digits, digits, numerals, table, contractions, script, cjk, cjk, indic, indic,
    emoji, accents, accents, marks, invisible, controls, special, special, long_word, url, mixed, mixed, points, glued, glued,
]

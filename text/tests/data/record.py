"""Records the data of these tests: two small tokenizers, and what Jinja2 makes of the templates.

    python -m venv venv && venv/bin/pip install tokenizers==0.23.3 jinja2==3.1.6
    venv/bin/python record.py

Writes byte_level/tokenizer.json, sentencepiece/tokenizer.json, encodings.json and renderings.json beside itself. The
trainer breaks ties by chance, so another run may give another vocabulary, with its encodings.
"""

import json
from pathlib import Path

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps, and the fox goes home.",
    "A server answers requests; a router sends them to the shard that has room for them.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))\n",
    "你好，世界。你好吗？我很好，谢谢你。今天的天气很好，我们去公园吧。你们的世界很大。",
    "こんにちは世界。ありがとうございます。",
    "Grüße aus Köln! Ça va bien, merci. Où êtes-vous? Señor, mañana por la mañana.",
    "Привет, мир! Как дела? Хорошо, спасибо.",
    "😀😃😄 👍🏽 🎉🎉 😀😀 naïve café",
] * 4

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

TEXTS = [
    "",
    " ",
    "Hello world",
    " the fox",
    "  two  spaces\n\n\ttab",
    "你好世界，龘",
    "😀 👨‍👩‍👧 🇩🇪 \u0000\u0007",
    "<|im_start|>user\nHi<|im_end|>",
    "<s>text</s>",
    "a\u0301 é ﬁ \ufffd \u200b \ufeff",
    "The quick brown fox " * 3,
    "1234567890 3.14 x=1;y=2",
    "▁already ▁there",
]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    # An added token that is not special, and has a space, which the byte alphabet does not.
    tokenizer.add_tokens([AddedToken("tool call", normalized=False)])
    # Both must have no effect where prompts are counted.
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=8, pad_token="<|endoftext|>", pad_id=0)
    return tokenizer


def sentencepiece():
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁]+|▁+"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=300, limit_alphabet=60, special_tokens=[], show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    names += sorted(model["vocab"], key=model["vocab"].get)
    vocab = {name: number for number, name in enumerate(names)}
    merges = [tuple(merge) for merge in model["merges"]]
    bpe = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = trained.normalizer
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names[:3]])
    return tokenizer


def record_tokenizers():
    encodings = {}
    for name, tokenizer in [("byte_level", byte_level()), ("sentencepiece", sentencepiece())]:
        (HERE / name).mkdir(exist_ok=True)
        tokenizer.save(str(HERE / name / "tokenizer.json"), pretty=False)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        encodings[name] = [encode(tokenizer, text) for text in TEXTS]
    write("encodings.json", encodings)


def encode(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return {
        "text": text,
        "ids": ids,
        "decoded": tokenizer.decode(ids, skip_special_tokens=False),
        "without_special": tokenizer.decode(ids, skip_special_tokens=True),
    }


class Generation(Extension):
    """Transformers' tag around what an assistant said; it has no effect on the text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body, lineno=line)


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    """As transformers sets it up."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city: <sun> & 'rain'",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
            "required": ["city"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "zeit", "description": "Übrige Zeit ⏰", "parameters": {}}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 1}}}],
}
ANSWER = {"role": "tool", "name": "get_weather", "content": '{"temperature": 21.5}'}
THOUGHT = assistant("<think>\nLet me see.\n</think>\n\nIt is 4.")
PARTS = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is this? "}]}

CONTEXTS = {
    "one": {"messages": [user("Hello!")]},
    "system": {"messages": [system("Be brief. "), user("  Hi\n")]},
    "turns": {"messages": [user("2 + 2?"), assistant("4"), user("你好 😀 <b>&amp;</b> \"it's\"")]},
    "long": {"messages": [system("S"), *[turn(f"{i}") for i in range(4) for turn in (user, assistant)], user("end")]},
    "no generation prompt": {"messages": [user("Hi"), assistant("Ho")], "add_generation_prompt": False},
    "empty content": {"messages": [user("")]},
    "two systems": {"messages": [system("a"), system("b"), user("c")]},
    "assistant first": {"messages": [assistant("a"), user("b")]},
    "tools": {"messages": [system("Help."), user("Weather in Köln?")], "tools": [WEATHER, TIME]},
    "tool use": {"messages": [user("Weather?"), CALL, ANSWER, assistant("Warm."), user("Ok")], "tools": [WEATHER]},
    "two answers": {"messages": [user("Weather?"), CALL, ANSWER, ANSWER], "tools": [WEATHER]},
    "thought": {"messages": [user("2 + 2?"), THOUGHT, user("And 3 + 3?")]},
    "no thinking": {"messages": [user("Hi")], "extra": {"enable_thinking": False, "date_string": "1 Jan 2026"}},
    "parts": {"messages": [PARTS]},
    "extra field": {"messages": [{"role": "user", "content": "x", "name": "Ann", "score": 1.0, "big": 12345678901234567890}]},
}

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def render(env, source, context):
    values = {"tools": None, "documents": None, "add_generation_prompt": True, **context, **context.get("extra", {})}
    values.pop("extra", None)
    try:
        return {"text": env.from_string(source).render(**SPECIAL_TOKENS, **values)}
    except TemplateError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except TypeError as error:
        return {"error": "TypeError", "message": str(error)}


def record_templates():
    env = environment()
    renderings = []
    for file in sorted((HERE / "templates").glob("*.jinja")):
        for name, context in CONTEXTS.items():
            result = render(env, file.read_text(), context)
            renderings.append({"template": file.name, "case": name, "context": context, **result})
    write("renderings.json", renderings)


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    record_tokenizers()
    record_templates()

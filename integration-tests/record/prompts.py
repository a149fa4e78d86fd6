"""Forty prompts from one token to 1,500, in many kinds of text."""

from random import Random

import writing

SHORT = [
    "The",
    "Hello,",
    "3.14159",
    "猫",
    "def main(",
    "The capital of France is",
    "🚀🚀",
    "Once upon a time, there was a small mill",
]
MEDIUM = [
    "Question: A train leaves at 9:40 and arrives at 11:15. How many minutes does the journey take?\nAnswer:",
    "Translate to French: The bread is on the table.\nTranslation:",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\nList three kinds of grain.<|im_end|>\n<|im_start|>assistant\n",
    "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89,",
    '{"name": "gristmill", "version": [0, 1, 0], "tags": ["llm", "server"], "nested": {"empty": {}, "null": null}, "next":',
    "# Shopping list\n\n- [x] flour\n- [ ] eggs\n- [ ] butter\n\n## Method\n\n1. Mix the flour and the eggs.\n2.",
]


def prompts() -> list[str]:
    rng = Random(20)
    return SHORT + MEDIUM + medium_generated(rng) + long_generated(rng)


def medium_generated(rng: Random) -> list[str]:
    scripts = [writing.script(rng, name, 3) for name in ("chinese", "japanese", "arabic", "hindi", "russian", "thai")]
    return [
        writing.prose(rng, 2),
        writing.prose(rng, 5),
        writing.prose(rng, 8),
        writing.python(rng),
        writing.rust(rng),
        writing.table(rng, 4),
        writing.emoji(rng, 8),
        *scripts,
        writing.mixed(rng, 4),
    ]


def long_generated(rng: Random) -> list[str]:
    return [
        writing.prose(rng, 24),
        writing.prose(rng, 40),
        "".join(writing.code(rng) for _ in range(3)),
        "".join(writing.python(rng) for _ in range(5)),
        writing.table(rng, 18),
        writing.log(rng, 9),
        writing.script(rng, "korean", 8) + writing.script(rng, "greek", 5),
        writing.mixed(rng, 12),
        writing.prose(rng, 65),
        writing.prose(rng, 80) + "\n\n" + "".join(writing.code(rng) for _ in range(3)) + writing.script(rng, "chinese", 4),
        writing.prose(rng, 120),
    ]

"""Six conversations for the chat template."""

CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sea salty?"},
    ],
    [
        {"role": "user", "content": "Name a prime number above ten."},
        {"role": "assistant", "content": "Eleven."},
        {"role": "user", "content": "And the next one?"},
    ],
    [
        {"role": "system", "content": "Tu réponds en français, brièvement. 🥖"},
        {"role": "user", "content": "Où se trouve le Mont-Blanc ?"},
        {"role": "assistant", "content": "Dans les Alpes, entre la France et l’Italie."},
        {"role": "user", "content": "Et en 日本語 : 富士山はどこ？"},
    ],
    [
        {"role": "user", "content": "  Fix this:\n\n```python\ndef add(a, b):\n\treturn a - b\n```\n"},
        {"role": "assistant", "content": "```python\ndef add(a, b):\n\treturn a + b\n```"},
        {"role": "user", "content": "Thanks! Now \"multiply\" & {{ braces }} {% raw %} <b>too</b>."},
    ],
    [
        {"role": "system", "content": ""},
        {"role": "user", "content": "नमस्ते! 👩🏽‍🚀 مرحبا, e\u0301 against \u00e9."},
    ],
]

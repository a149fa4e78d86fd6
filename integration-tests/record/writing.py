"""Invented text of many kinds, drawn from a seeded generator: prose, code, tables, other scripts."""

from random import Random

PEOPLE = "Mara Tobias Ines the_miller a_young_clerk Dr._Okafor the_night_watchman Yusuf the_cartographer Lene".split()
PLACES = "the harbour, the old mill, a quiet library, the railway yard, the northern pass, a market town".split(", ")
THINGS = (
    "a brass compass, the ledger, three sacks of rye, a broken clock, an unsigned letter, the spare key, "
    "a jar of ink, two lanterns, the weather report, a map of the river"
).split(", ")
DEEDS = (
    "carried {t} to {p}|forgot {t} at {p}|asked why {t} had been left in {p}|traded {t} for {u}|"
    "hid {t} beneath {u}|measured {t} twice before leaving {p}|wrote about {t} while waiting near {p}"
).split("|")
TURNS = (
    "Nobody noticed.|It had rained since {n} o'clock.|\"That can't be right,\" {w} said, \"we've counted {n} of them.\"|"
    "By morning the price was {n}.{m} crowns, and rising.|Still, the wheel kept turning.|What else could be done?|"
    "The answer, as so often, wasn't written down.|In {y} the same thing happened again; they'd learned nothing."
).split("|")

NOUNS = "row batch block token weight cursor shard query page signal budget mirror".split()
VERBS = "merge split count reserve release rotate pack widen scan drain".split()

# Sentences with holes; each script's words fill its own holes.
SCRIPTS = {
    "chinese": ("{a}在{b}看见了{c}。|{a}说：“{c}不在{b}。”|昨天{a}把{c}送到{b}，花了{n}元。|{b}的天气很好，{a}带着{c}走了{n}公里。",
                "老师 孩子们 磨坊主 工程师 我的邻居".split(), "河边 图书馆 火车站 山上 厨房".split(), "一本书 地图 面粉 旧钟表 两只猫".split()),
    "japanese": ("{a}は{b}で{c}を見つけた。|{a}が「{c}はどこ？」と聞いた。|{b}まで{n}キロ歩いて、{a}は{c}を売りました。|{c}、{a}、そして{b}。",
                 "先生 子ども 粉屋 エンジニア となりの人".split(), "川のそば 図書館 駅 山の上 台所".split(), "本 地図 小麦粉 古い時計 ネコ二匹".split()),
    "korean": ("{a}은 {b}에서 {c}을 찾았다. |{a}이 물었다: \"{c}은 어디에 있나요?\" |{b}까지 {n}킬로미터. ",
               "선생님 아이들 이웃 기술자".split(), "강가 도서관 기차역 부엌".split(), "책 지도 밀가루 시계".split()),
    "arabic": ("وجد {a} {c} في {b}. |سأل {a}: «أين {c}؟» |المسافة إلى {b} {n} كيلومترًا. ",
               "المعلم الطحان المهندس الجار".split(), "المكتبة المحطة المطبخ الجبل".split(), "الكتاب الخريطة الطحين الساعة".split()),
    "hindi": ("{a} को {b} में {c} मिली। |{a} ने पूछा, “{c} कहाँ है?” |{b} यहाँ से {n} किलोमीटर दूर है। ",
              "शिक्षक बच्चे पड़ोसी इंजीनियर".split(), "पुस्तकालय स्टेशन रसोई पहाड़".split(), "किताब घड़ी चिट्ठी रोटी".split()),
    "thai": ("{a}พบ{c}ที่{b} |{a}ถามว่า{c}อยู่ที่ไหน |จากที่นี่ไป{b} {n} กิโลเมตร ",
             "ครู เด็กๆ เพื่อนบ้าน วิศวกร".split(), "ห้องสมุด สถานีรถไฟ ห้องครัว ภูเขา".split(), "หนังสือ แผนที่ แป้ง นาฬิกา".split()),
    "russian": ("{a} нашёл {c} у {b}. |— Где {c}? — спросил {a}. |До {b} ещё {n} км. ",
                "Учитель Мельник Инженер Сосед".split(), "реки библиотеки вокзала горы".split(), "карту книгу муку часы".split()),
    "greek": ("Ο {a} βρήκε {c} κοντά στο {b}. |Ως το {b} είναι {n} χιλιόμετρα. ",
              "δάσκαλος μυλωνάς γείτονας".split(), "ποτάμι λιμάνι βουνό".split(), "χάρτη βιβλίο ρολόι".split()),
    "hebrew": ("{a} מצא {c} ליד {b}. |איפה {c}? שאל {a}. ",
               "המורה הטוחן השכן".split(), "הנהר הספרייה התחנה".split(), "מפה ספר שעון".split()),
}

EMOJI = "😀 🎉 🚀 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 🇯🇵 ❤️ ☕ 🧑🏿‍🚒 🐈‍⬛ 1️⃣ #️⃣ ✈️ 🫠 🪿 👁️‍🗨️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿".split()


def sentence(rng: Random) -> str:
    who = rng.choice(PEOPLE).replace("_", " ")
    if rng.random() < 0.35:
        holes = {"n": rng.randrange(2, 99), "m": rng.randrange(10, 99), "y": rng.randrange(1700, 2030), "w": who}
        return rng.choice(TURNS).format(**holes)
    deed = rng.choice(DEEDS).format(t=rng.choice(THINGS), u=rng.choice(THINGS), p=rng.choice(PLACES))
    return f"{who[0].upper()}{who[1:]} {deed}."


def prose(rng: Random, sentences: int) -> str:
    return " ".join(sentence(rng) for _ in range(sentences))


def script(rng: Random, name: str, sentences: int) -> str:
    frames, *words = SCRIPTS[name]
    parts = []
    for _ in range(sentences):
        a, b, c = (rng.choice(choices) for choices in words)
        parts.append(rng.choice(frames.split("|")).format(a=a, b=b, c=c, n=rng.randrange(2, 400)))
    return "".join(parts)


def python(rng: Random) -> str:
    verb, noun, other = rng.choice(VERBS), rng.choice(NOUNS), rng.choice(NOUNS)
    limit = rng.randrange(2, 5000)
    return (
        f"def {verb}_{noun}s({noun}s: list[int], {other}=None):\n"
        f'    """{verb.capitalize()} every {noun} below {limit}."""\n'
        f"    found = [{noun[0]} for {noun[0]} in {noun}s if {noun[0]} < {limit}]\n"
        f"    if not found and {other} is not None:\n"
        f"        raise ValueError(f\"no {noun} for {{{other}!r}}\")\n"
        f"    return sum(found) / {rng.randrange(2, 64)}.0  # {rng.choice(TURNS).split('.')[0][:20]}\n\n"
    )


def rust(rng: Random) -> str:
    verb, noun, other = rng.choice(VERBS), rng.choice(NOUNS), rng.choice(NOUNS)
    kind = noun.capitalize()
    return (
        f"impl {kind} {{\n    pub fn {verb}(&mut self, {other}: &[u8]) -> Result<usize, {kind}Error> {{\n"
        f"        let n = {other}.iter().filter(|b| **b != 0x{rng.randrange(256):02x}).count();\n"
        f"        self.{noun}s += n << {rng.randrange(1, 8)};\n"
        f"        if n == 0 {{ return Err({kind}Error::Empty); }}\n        Ok(n)\n    }}\n}}\n\n"
    )


def c(rng: Random) -> str:
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    return (
        f"static int {verb}_{noun}(struct {noun} *p, size_t n)\n{{\n\tfor (size_t i = 0; i < n; ++i) {{\n"
        f"\t\tif (p[i].flags & 0x{rng.randrange(1 << 16):04X}) continue;\n\t\tp[i].next = &p[(i + 1) % n];\n\t}}\n"
        f"\treturn n ? 0 : -{rng.randrange(1, 40)};\n}}\n\n"
    )


def code(rng: Random) -> str:
    return rng.choice([python, rust, c])(rng)


def table(rng: Random, rows: int) -> str:
    """Digits: dates, prices, long numbers."""
    lines = ["date,order,amount,share"]
    for _ in range(rows):
        day = f"{rng.randrange(1990, 2031)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
        lines.append(f"{day},{rng.randrange(10 ** rng.randrange(1, 10))},{rng.randrange(10 ** 6) / 100:.2f},{rng.random():.4f}")
    return "\n".join(lines)


def log(rng: Random, lines: int) -> str:
    text = ""
    for _ in range(lines):
        level = rng.choice(["INFO", "WARN", "ERROR", "DEBUG"])
        text += f"12:{rng.randrange(60):02d}:{rng.randrange(60):02d}.{rng.randrange(1000):03d} {level:5} [{rng.choice(NOUNS)}-{rng.randrange(16)}] "
        text += f"{rng.choice(VERBS)} took {rng.randrange(9000)}µs id={rng.getrandbits(64):016x}\n"
    return text


def url(rng: Random) -> str:
    path = "/".join(rng.choice(NOUNS) for _ in range(rng.randrange(1, 5)))
    return f"{rng.choice(['http', 'https', 'ftp'])}://{rng.choice(NOUNS)}{rng.randrange(100)}.example.{rng.choice(['com', 'org', 'net'])}/{path}?{rng.choice(NOUNS)}={rng.getrandbits(32):x}&q=%20{rng.choice(VERBS)}#{rng.randrange(100)}"


def emoji(rng: Random, count: int) -> str:
    return "".join(rng.choice(EMOJI) + rng.choice(["", "", " "]) for _ in range(count))


def mixed(rng: Random, parts: int) -> str:
    pieces = []
    for _ in range(parts):
        name = rng.choice([*SCRIPTS, "prose", "emoji", "digits", "code"])
        if name in SCRIPTS:
            pieces.append(script(rng, name, 1))
        else:
            make = {"prose": sentence, "emoji": lambda r: emoji(r, 3), "digits": lambda r: str(r.getrandbits(40)), "code": code}
            pieces.append(make[name](rng))
    return rng.choice([" ", "", "\n", " / "]).join(pieces)

"""Starts the program with the demo model and lets real clients talk to it.

Usage: run.py PROGRAM    (the model is the file that GRISTMILL_DEMO_MODEL names)

Each client is used as its own documentation shows. A test is a function of this file whose name starts with `test_`.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

import huggingface_hub
import openai
import text_generation
from text_generation.errors import ValidationError

PROMPT = "The capital of France is"
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
START_SECONDS = 120


def test_text_generation_generate(url):
    answer = text_generation.Client(url, timeout=60).generate(PROMPT, max_new_tokens=8)
    assert "Paris" in answer.generated_text, answer
    assert answer.details.generated_tokens == len(answer.details.tokens) == 8
    assert answer.details.finish_reason == "length" and answer.details.seed is None


def test_text_generation_stream_equals_whole(url):
    client = text_generation.Client(url, timeout=60)
    whole = client.generate(PROMPT, max_new_tokens=12).generated_text
    events = list(client.generate_stream(PROMPT, max_new_tokens=12))
    assert "".join(event.token.text for event in events if not event.token.special) == whole
    assert events[-1].generated_text == whole and events[-1].details.generated_tokens == 12
    assert all(event.generated_text is None for event in events[:-1])


def test_text_generation_seed_best_of_and_top_tokens(url):
    client = text_generation.Client(url, timeout=60)
    again = [client.generate(PROMPT, max_new_tokens=8, do_sample=True, seed=7).generated_text for _ in range(2)]
    assert again[0] == again[1]
    best = client.generate(PROMPT, max_new_tokens=4, do_sample=True, best_of=2).details
    assert len(best.best_of_sequences) == 1
    top = client.generate(PROMPT, max_new_tokens=2, top_n_tokens=3).details.top_tokens
    assert [len(tokens) >= 3 for tokens in top] == [True, True]


def test_text_generation_errors(url):
    client = text_generation.Client(url, timeout=60)
    try:
        client.generate(PROMPT, truncate=10**6)
    except ValidationError as error:
        assert "`truncate` must be strictly positive and less than 8191. Given: 1000000" in str(error), error
    else:
        raise AssertionError("a limit above the model's was accepted")


def test_text_generation_chat(url):
    answer = text_generation.Client(url, timeout=60).chat(messages=QUESTION, max_tokens=20, temperature=0.0)
    assert "Paris" in answer.choices[0].message.content, answer


def test_huggingface_hub_text_generation_details(url):
    client = huggingface_hub.InferenceClient(base_url=url)
    answer = client.text_generation(PROMPT, details=True, max_new_tokens=8, stop=["."])
    assert "Paris" in answer.generated_text and answer.generated_text.endswith("."), answer
    assert answer.details.finish_reason == "stop_sequence" and answer.details.tokens[0].id > 0


def test_huggingface_hub_text_generation_stream(url):
    client = huggingface_hub.InferenceClient(base_url=url)
    assert "Paris" in "".join(client.text_generation(PROMPT, stream=True, max_new_tokens=8))
    events = list(client.text_generation(PROMPT, stream=True, details=True, max_new_tokens=8))
    assert events[-1].details.generated_tokens == 8 and "Paris" in events[-1].generated_text


def test_huggingface_hub_chat_completion(url):
    client = huggingface_hub.InferenceClient(base_url=url)
    answer = client.chat_completion(QUESTION, max_tokens=20, temperature=0)
    assert "Paris" in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    chunks = list(client.chat_completion(QUESTION, max_tokens=20, temperature=0, stream=True))
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_openai_chat(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)
    answer = client.chat.completions.create(
        model="tgi", messages=QUESTION, max_tokens=20, temperature=0, top_p=1.0, logprobs=True, top_logprobs=2
    )
    choice = answer.choices[0]
    assert "Paris" in choice.message.content and choice.finish_reason == "stop" and answer.id, answer
    assert len(choice.logprobs.content[0].top_logprobs) == 2 and answer.created > 1_700_000_000


def test_openai_chat_stop_is_cut(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)
    ask = dict(model="tgi", messages=QUESTION, max_tokens=20, temperature=0, stop="Paris")
    answer = client.chat.completions.create(**ask).choices[0]
    assert "Paris" not in answer.message.content and answer.finish_reason == "stop", answer
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices


def test_openai_completions(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)
    answer = client.completions.create(model="tgi", prompt=[PROMPT, "1, 2, 3,"], max_tokens=8, temperature=0)
    assert "Paris" in answer.choices[0].text and "4" in answer.choices[1].text, answer
    chunks = list(client.completions.create(model="tgi", prompt=PROMPT, max_tokens=8, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text


def test_openai_errors_and_models(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)
    assert len(client.models.list().data) == 1
    try:
        client.chat.completions.create(model="tgi", messages=QUESTION, logprobs=True, top_logprobs=20)
    except openai.UnprocessableEntityError as error:
        assert "must be >= 0 and <= 5. Given: 20" in error.body["message"] and error.body["type"], error.body
    else:
        raise AssertionError("more top tokens than the server allows were accepted")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(program, folder):
    """The server, once it is healthy, with its url."""
    port = free_port()
    arguments = ["serve", "--model-id", os.environ["GRISTMILL_DEMO_MODEL"], "--hostname", "127.0.0.1"]
    arguments += ["--port", str(port), "--shard-uds-path", folder + "/shard"]
    log = open(folder + "/log", "w")
    server = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(START_SECONDS * 20):
        try:
            urllib.request.urlopen(url + "/health")
            return server, url
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    server.kill()
    sys.exit(open(folder + "/log").read())


def main():
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server, url = start(sys.argv[1], folder)
        for name, test in tests.items():
            try:
                test(url)
                print("ok    ", name)
            except Exception:
                failed += 1
                print("FAILED", name)
                traceback.print_exc()
        server.terminate()
        if server.wait(timeout=60) != 0:
            failed += 1
            print("FAILED the server did not end with 0")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

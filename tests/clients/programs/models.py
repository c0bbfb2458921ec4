"""
SDKs of models for Python: `models.py NAME` asks each URL a question, and prints the answers.

Each line is a JSON object: {"data"} is a piece of text, and the rest is as in streams.py.
"""

import json
import sys
from threading import Lock, Thread

QUESTION = [{"role": "user", "content": "Why is there a tide?"}]


one_line = Lock()


def openai(url, show):
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="key", max_retries=0)
    for chunk in client.chat.completions.create(model="m", messages=QUESTION, stream=True):
        show(data=chunk.choices[0].delta.content)


def anthropic(url, show):
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="key", max_retries=0)
    with client.messages.stream(model="m", messages=QUESTION, max_tokens=100) as stream:
        for text in stream.text_stream:
            show(data=text)


SDKS = {"openai": openai, "anthropic": anthropic}


def follow(number, url):
    def show(**line):
        with one_line:
            print(json.dumps({"number": number, **line}), flush=True)

    try:
        SDKS[sys.argv[1]](url, show)
        show(over="end", why="")
    except Exception as error:
        show(over="error", why=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    for number, url in enumerate(sys.stdin):
        Thread(target=follow, args=(number, url.strip()), daemon=True).start()

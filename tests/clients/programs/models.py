"""
SDKs of models for Python: `models.py NAME URL` asks a question and prints the answer.

Each line is a JSON object: {"data"} is a piece of text, and the last line is as that of streams.py.
"""

import json
import sys

QUESTION = [{"role": "user", "content": "Why is there a tide?"}]


def show(**line):
    print(json.dumps(line), flush=True)


def openai(url):
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="key", max_retries=0)
    for chunk in client.chat.completions.create(model="m", messages=QUESTION, stream=True):
        show(data=chunk.choices[0].delta.content)


def anthropic(url):
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="key", max_retries=0)
    with client.messages.stream(model="m", messages=QUESTION, max_tokens=100) as stream:
        for text in stream.text_stream:
            show(data=text)


SDKS = {"openai": openai, "anthropic": anthropic}

if __name__ == "__main__":
    try:
        SDKS[sys.argv[1]](sys.argv[2])
        show(over="end", why="")
    except Exception as error:
        show(over="error", why=f"{type(error).__name__}: {error}")

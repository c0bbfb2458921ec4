"""As answers.mjs, with OpenAI's SDK for Python."""

from __future__ import annotations

import json
import sys

import openai


def show(**line: object) -> None:
    print(json.dumps(line), flush=True)


def chat(client: openai.OpenAI, question: str, start: str) -> None:
    messages = [{"role": "user", "content": question}]
    for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
        show(text=chunk.choices[0].delta.content or "")


def responses(client: openai.OpenAI, question: str, start: str) -> None:
    stream = (
        client.responses.retrieve(question, stream=True, starting_after=int(start))
        if start
        else client.responses.create(model="m", input=question, stream=True)
    )
    status = "none"
    for event in stream:
        if event.type == "response.output_text.delta":
            show(text=event.delta, number=event.sequence_number)
        elif event.type == "response.completed":
            status = event.response.status
    if status != "completed":
        raise RuntimeError(f"the status is {status}")


def main(what: str, url: str, question: str, start: str = "") -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0)
    try:
        {"chat": chat, "responses": responses}[what](client, question, start)
    except Exception as error:
        show(over="error", why=f"{type(error).__name__}: {error}")
    else:
        show(over="end")


if __name__ == "__main__":
    main(*sys.argv[1:])

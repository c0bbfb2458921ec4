// SDKs of models for Node: what models.py is for Python.

import { createInterface } from "node:readline";

const QUESTION = "Why is there a tide?";
const messages = [{ role: "user", content: QUESTION }];

const sdks = {
  async openai(baseURL, show) {
    const { OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0 });
    for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
      show({ data: chunk.choices[0].delta.content });
    }
  },

  async "@anthropic-ai/sdk"(baseURL, show) {
    const { Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL, apiKey: "key", maxRetries: 0 });
    const stream = client.messages.stream({ model: "m", max_tokens: 100, messages });
    stream.on("text", (data) => show({ data }));
    await stream.finalMessage();
  },

  async ai(url, show) {
    const { DefaultChatTransport } = await import("ai");
    const transport = new DefaultChatTransport({ api: `${url}/chat` });
    const stream = await transport.sendMessages({
      chatId: "1",
      trigger: "submit-message",
      messages: [{ id: "1", role: "user", parts: [{ type: "text", text: QUESTION }] }],
    });
    for await (const chunk of stream) {
      if (chunk.type === "text-delta") show({ data: chunk.delta });
    }
  },

  async "@ag-ui/client"(url, show) {
    const { HttpAgent } = await import("@ag-ui/client");
    const agent = new HttpAgent({ url: `${url}/agent` });
    agent.addMessage({ id: "1", role: "user", content: QUESTION });
    await agent.runAgent(
      {},
      { onTextMessageContentEvent: ({ event }) => void show({ data: event.delta }) },
    );
  },
};

// @ag-ui/client rejects a promise of its own too, which nobody can catch.
process.on("unhandledRejection", () => {});

let count = 0;

for await (const url of createInterface({ input: process.stdin })) {
  const number = count++;
  const show = (line) => console.log(JSON.stringify({ number, ...line }));
  sdks[process.argv[2]](url, show).then(
    () => show({ over: "end", why: "" }),
    (error) => show({ over: "error", why: `${error.name}: ${error.message} ${error.status ?? ""}` }),
  );
}
process.exit(0);

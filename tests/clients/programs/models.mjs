// SDKs of models for Node: what models.py is for Python.

const QUESTION = "Why is there a tide?";
const messages = [{ role: "user", content: QUESTION }];
const show = (line) => console.log(JSON.stringify(line));

const sdks = {
  async openai(baseURL) {
    const { OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0 });
    for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
      show({ data: chunk.choices[0].delta.content });
    }
  },

  async "@anthropic-ai/sdk"(baseURL) {
    const { Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL, apiKey: "key", maxRetries: 0 });
    const stream = client.messages.stream({ model: "m", max_tokens: 100, messages });
    stream.on("text", (data) => show({ data }));
    await stream.finalMessage();
  },

  async ai(url) {
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

  async "@ag-ui/client"(url) {
    const { HttpAgent } = await import("@ag-ui/client");
    const agent = new HttpAgent({ url: `${url}/agent` });
    agent.addMessage({ id: "1", role: "user", content: QUESTION });
    await agent.runAgent(
      {},
      { onTextMessageContentEvent: ({ event }) => void show({ data: event.delta }) },
    );
  },
};

try {
  await sdks[process.argv[2]](process.argv[3]);
  show({ over: "end", why: "" });
} catch (error) {
  show({ over: "error", why: `${error.name}: ${error.message} ${error.status ?? ""}` });
}
process.exit(0);

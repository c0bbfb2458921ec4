// Clients of runs, each in a process of its own: `node answers.mjs CLIENT URL QUESTION [START]` prints what it reads as
// lines of JSON. The last one says how it ended: `{"over": "end"}`, or `{"over": "error"}` and why.

const [client, url, question, start] = process.argv.slice(2);
const show = (line) => console.log(JSON.stringify(line));

async function openai() {
  const { OpenAI } = await import("openai");
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: "key", maxRetries: 0 });
}

const clients = {
  async chat() {
    const messages = [{ role: "user", content: question }];
    const stream = await (await openai()).chat.completions.create({ model: "m", messages, stream: true });
    for await (const chunk of stream) show({ text: chunk.choices[0].delta.content ?? "" });
  },

  async responses() {
    const { responses } = await openai();
    const stream = start
      ? await responses.retrieve(question, { stream: true, starting_after: Number(start) })
      : await responses.create({ model: "m", input: question, stream: true });
    let status = "none";
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") show({ text: event.delta, number: event.sequence_number });
      if (event.type === "response.completed") ({ status } = event.response);
    }
    if (status !== "completed") throw new Error(`the status is ${status}`);
  },

  async "ag-ui"() {
    const { HttpAgent } = await import("@ag-ui/client");
    const agent = new HttpAgent({ url: `${url}/agent`, threadId: question });
    agent.addMessage({ id: "1", role: "user", content: question });
    let failed = "";
    await agent.runAgent(
      { runId: "1" },
      {
        onTextMessageContentEvent: ({ event }) => void show({ text: event.delta }),
        onRunErrorEvent: ({ event }) => void (failed = event.message),
      },
    );
    if (failed) throw new Error(failed);
  },

  async text() {
    const path = `/text/${encodeURIComponent(question)}?question=${encodeURIComponent(question)}`;
    const response = await fetch(url + path, { method: "POST" });
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) show({ text });
  },
};

// @ag-ui/client rejects a promise of its own too, which nobody can catch.
process.on("unhandledRejection", () => {});

clients[client]().then(
  () => show({ over: "end" }),
  (error) => show({ over: "error", why: `${error.name}: ${error.message}` }),
);

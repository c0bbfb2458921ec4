// The transport of the AI SDK's useChat: `node runs.mjs URL send|reconnect CHAT [MESSAGE]` prints its chunks as lines.

import { DefaultChatTransport, readUIMessageStream } from "ai";

const [url, what, chatId, id] = process.argv.slice(2);
const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
const message = { id, role: "user", parts: [{ type: "text", text: "Why is there a tide?" }] };

const stream =
  what === "send"
    ? await transport.sendMessages({ chatId, trigger: "submit-message", messages: [message] })
    : await transport.reconnectToStream({ chatId });

if (stream === null) {
  console.log(JSON.stringify({ nothing: true }));
} else {
  const [chunks, parts] = stream.tee();
  for await (const chunk of chunks) console.log(JSON.stringify(chunk));
  let last;
  for await (const read of readUIMessageStream({ stream: parts, onError() {} })) last = read;
  console.log(JSON.stringify({ message: last }));
}

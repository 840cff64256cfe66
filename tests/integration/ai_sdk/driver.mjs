// Drives the real AI SDK for the tests: reads one JSON command per line, answers each with one JSON line.
// A chat is the SDK's own AbstractChat with its state in memory, as useChat has it with its state in React.
import { createInterface } from 'node:readline';
import {
  AbstractChat,
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
  readUIMessageStream,
  uiMessageChunkSchema,
} from 'ai';
import { WorkflowChatTransport } from '@ai-sdk/workflow/client';

class Memory {
  status = 'ready';
  error = undefined;
  messages;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = message => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) =>
    (this.messages = [...this.messages.slice(0, index), this.snapshot(message), ...this.messages.slice(index + 1)]);
  snapshot = value => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor({ messages = [], ...init }) {
    super({ ...init, state: new Memory(messages) });
  }
}

const chats = new Map();
const seen = new Map(); // of each chat: what was fetched, what was called back

function watchedFetch(notes) {
  return async (url, init) => {
    const response = await fetch(url, init);
    notes.fetches.push({
      method: init?.method ?? 'GET',
      url: String(url),
      status: response.status,
      run: response.headers.get('x-workflow-run-id'),
      tail: response.headers.get('x-workflow-stream-tail-index'),
    });
    return response;
  };
}

function transportOf({ transport, api, body, plain, initialStartIndex, key }, notes) {
  const watched = watchedFetch(notes);
  const mine = key ? { authorization: `Bearer ${key}` } : {};
  if (transport === 'default') return new DefaultChatTransport({ api, fetch: watched, body, headers: mine });
  return new WorkflowChatTransport({
    api,
    fetch: watched,
    initialStartIndex,
    maxConsecutiveErrors: 5,
    ...(plain
      ? {}
      : {
          prepareSendMessagesRequest: ({ id, messages, trigger, messageId, headers }) => ({
            headers: { 'content-type': 'application/json', ...mine, ...headers },
            body: { id, messages, trigger, messageId, ...body },
          }),
          prepareReconnectToStreamRequest: ({ api }) => ({ api, headers: mine }),
        }),
  });
}

const commands = {
  open({ chat, id, messages, automatically, ...rest }) {
    const notes = { fetches: [], finished: [], errors: [], toolCalls: [] };
    seen.set(chat, notes);
    chats.set(
      chat,
      new Chat({
        id,
        messages,
        transport: transportOf(rest, notes),
        sendAutomaticallyWhen: !automatically
          ? undefined
          : state =>
              lastAssistantMessageIsCompleteWithApprovalResponses(state) ||
              lastAssistantMessageIsCompleteWithToolCalls(state),
        onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
          notes.finished.push({ isAbort, isDisconnect, isError, finishReason }),
        onError: error => notes.errors.push(error.message),
        onToolCall: ({ toolCall }) => void notes.toolCalls.push(toolCall.toolName),
      }),
    );
  },
  async call({ chat, method, args = [] }) {
    await chats.get(chat)[method](...args);
  },
  state({ chat }) {
    const { status, messages, error } = chats.get(chat);
    return { status, messages, error: error?.message, ...seen.get(chat) };
  },
  async reconnect({ id, startIndex, ...rest }) {
    const notes = { fetches: [] };
    const stream = await transportOf(rest, notes).reconnectToStream({ chatId: id, startIndex });
    const chunks = [];
    if (stream) for await (const chunk of stream) chunks.push(chunk);
    return { chunks: stream && chunks, ...notes };
  },
  async check({ chunks, message }) {
    const schema = typeof uiMessageChunkSchema === 'function' ? uiMessageChunkSchema() : uiMessageChunkSchema;
    const older = await import('./node_modules/@ai-sdk/workflow/node_modules/ai/dist/index.js');
    const olderSchema = typeof older.uiMessageChunkSchema === 'function' ? older.uiMessageChunkSchema() : older.uiMessageChunkSchema;
    const unfit = [];
    for (const chunk of chunks)
      for (const each of [schema, olderSchema])
        if (!(await each.validate(chunk)).success) unfit.push(chunk);
    let last = message;
    const stream = new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    const errors = [];
    for await (const each of readUIMessageStream({ stream, message: message ?? undefined, onError: error => errors.push(error.message) })) last = each;
    return { unfit, message: last, errors };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { n, command, ...given } = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[command](given))
    .then(
      result => process.stdout.write(JSON.stringify({ n, result: result ?? null }) + '\n'),
      error => process.stdout.write(JSON.stringify({ n, error: String(error?.stack ?? error) }) + '\n'),
    );
}

// What useChat does in a page, in a terminal: say something, follow the answer whatever dies meanwhile, decide what it asks for.
import { createInterface } from 'node:readline';
import { AbstractChat, lastAssistantMessageIsCompleteWithApprovalResponses } from 'ai';
import { WorkflowChatTransport } from '@ai-sdk/workflow/client';

const { HOLDFAST_URL = 'http://127.0.0.1:8080', HOLDFAST_KEY, CHAT = crypto.randomUUID() } = process.env;
const headers = {
  'content-type': 'application/json',
  ...(HOLDFAST_KEY && { authorization: `Bearer ${HOLDFAST_KEY}` }),
};

const transport = new WorkflowChatTransport({
  api: `${HOLDFAST_URL}/ai-sdk/chat`,
  // Holdfast has the conversation: what is new is enough.
  prepareSendMessagesRequest: ({ id, messages, trigger, messageId }) => ({
    headers,
    body: { id, trigger, messageId, messages: messages.slice(-1) },
  }),
  prepareReconnectToStreamRequest: ({ api }) => ({ api, headers }),
});

// useChat keeps this in React's state.
class State {
  status = 'ready';
  messages = [];
  pushMessage = message => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => (this.messages[index] = message);
  snapshot = structuredClone;
}

class Chat extends AbstractChat {}

const chat = new Chat({
  id: CHAT,
  transport,
  state: new State(),
  sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  onFinish: () => setTimeout(next), // when the SDK has settled
  onError: error => console.error(error.message),
});

let lines;

async function ask(question) {
  process.stdout.write(question);
  lines ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  return (await lines.next()).value;
}

async function next() {
  if (chat.status !== 'ready') process.exit(1);
  const asked = chat.lastMessage.parts.filter(part => part.state === 'approval-requested');
  for (const { type, input, approval } of asked) {
    const answer = await ask(`${type.slice(5)} ${JSON.stringify(input)}? [y/n] `);
    await chat.addToolApprovalResponse({ id: approval.id, approved: answer === 'y' });
  }
  if (asked.length > 0) return; // it goes on by itself
  console.log(chat.lastMessage.parts.map(part => (part.type === 'text' ? part.text : '')).join(''));
  await lines?.return();
}

await chat.sendMessage({ text: process.argv[2] });

// A run's events over the network: opened by a POST, taken up again by the run's id when the connection is lost.
import { rooted } from "../base/address.js";

const WAITS = [300, 1000, 2000]; // milliseconds before each try to connect again

const MAY_WORK_LATER = [429, 502, 503, 504]; // statuses after which another try may succeed

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
    this.again = MAY_WORK_LATER.includes(status);
  }
}

class Lost extends Error {
  again = true;
  lost = true;
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Lost("The server cannot be reached. Try again in a moment.");
  }
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({ detail: `The server answered ${answer.status}. Try again in a moment.` }));
  throw new Failure(detail, answer.status);
}

export async function open(body, signal) {
  const answer = await ask(rooted("/api/v1/steer"), {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });
  return { stream: answer.body, address: null, last: 0 };
}

// The first of some runs that is still known, from its first event.
export async function join(ids, signal) {
  for (const id of ids) {
    const address = rooted(`/api/v1/runs/${id}`);
    try {
      const answer = await ask(`${address}/events`, { signal });
      return { stream: answer.body, address, last: 0 };
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  throw new Failure("The texts were not written to their end before this page was loaded again.", 404);
}

// Calls `onEvent` for every event, `onLost` when the connection breaks. Returns after the last event.
export async function follow(run, signal, onEvent, onLost) {
  for (let tries = 0; ;) {
    const before = run.last;
    try {
      if (await listen(run, onEvent)) return;
      throw new Lost("The connection was lost before the text was finished. Try again.");
    } catch (error) {
      if (!(error instanceof Lost) || !run.address) throw error;
      if (run.last > before) tries = 0;
      if (tries >= WAITS.length) throw error;
    }
    onLost();
    await new Promise((resolve) => { setTimeout(resolve, WAITS[tries++]); });
    signal.throwIfAborted();
    run.stream = await ask(`${run.address}/events?after=${run.last}`, { signal }).then((answer) => answer.body, (error) => {
      if (!(error instanceof Lost)) throw error;
      return null;
    });
  }
}

// Reads server-sent events; returns whether the last one was received.
async function listen(run, onEvent) {
  if (!run.stream) return false;
  const reader = run.stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) return false;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [, id, name, data] = block.match(/^id: (\d+)\nevent: (\w+)\ndata: (.*)$/) ?? [];
      if (!name) continue; // a keep-alive comment
      const content = JSON.parse(data);
      run.last = Number(id);
      if (name === "run") run.address = content.events.replace(/\/events$/, "");
      if (onEvent(name, content)) return true;
    }
  }
}

export function cancel(run) {
  if (run?.address) fetch(run.address, { method: "DELETE", keepalive: true }).catch(() => {});
}

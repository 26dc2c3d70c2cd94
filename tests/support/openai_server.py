"""A server that speaks OpenAI's protocol as a script tells it: what it is asked, it remembers."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, Body, dict[str, str]]


@dataclass
class ScriptedServer:
    """What came in, and where."""

    base_url: str = ""
    requests: list[Body] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextmanager
def scripted_server(answer: Callable[[int, Body], Reply]) -> Iterator[ScriptedServer]:
    """Serve on loopback; `answer` takes the number of a request and its body."""
    server, lock = ScriptedServer(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(server.requests)
                server.requests.append(body)
                server.keys.append(self.headers.get("authorization", ""))
            status, reply, headers = answer(number, body)
            raw = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None:
            """Silence."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def completion(text: str, logprobs: list[tuple[str, float]] | None = None, before: Sequence[str] = ()) -> Reply:
    """A chat completion; logprobs: of the first token behind those of `before`, which are certain."""
    choice: Body = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if logprobs is not None:
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in logprobs]
        sure = [{"token": token, "logprob": 0.0, "bytes": None} for token in before]
        places = [*({**one, "top_logprobs": [one]} for one in sure), {**top[0], "top_logprobs": top}]
        choice["logprobs"] = {"content": places}
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    return (
        200,
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage},
        {},
    )


def refusal(
    status: int, message: str, code: str = "", headers: dict[str, str] | None = None, param: str | None = None
) -> Reply:
    """An error as such servers send it. param: the field that it is about."""
    return status, {"error": {"message": message, "code": code, "type": code, "param": param}}, headers or {}

"""A web server on this machine that behaves as a test wants it to, and misbehaves."""

import http.server
import socket
import threading
from collections.abc import Callable
from typing import Self

Request = http.server.BaseHTTPRequestHandler
Answer = bytes | int | Callable[[Request], None]  # content, status, or what writes the answer


class Server:
    """Answers what a test puts into `answers`; used in a with statement."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.over = threading.Event()  # ends the answers that would last for ever
        server = self

        class Handler(Request):
            def do_GET(self) -> None:  # noqa: N802, what http.server calls
                server.requests.append(self.path)
                answer = server.answers.get(self.path, 404)
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    promise(self, len(answer))
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.http.handle_error = lambda *_: None  # of a client that went away
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def silent(self, _request: Request) -> None:
        """Takes the request and never answers."""
        self.over.wait(30)

    def stalling(self, content: bytes) -> Answer:
        """Sends half and then nothing more, without hanging up."""

        def answer(request: Request) -> None:
            cut_off(content)(request)
            self.over.wait(30)

        return answer

    def dripping(self, content: bytes, pause: float) -> Answer:
        """Sends a byte, waits, sends a byte, waits; never long enough for a timeout."""

        def answer(request: Request) -> None:
            promise(request, len(content))
            for value in content:
                request.wfile.write(bytes([value]))
                if self.over.wait(pause):
                    return

        return answer


def promise(request: Request, length: int) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(length))
    request.end_headers()


def cut_off(content: bytes) -> Answer:
    """Promises all of the content and hangs up in the middle."""

    def answer(request: Request) -> None:
        promise(request, len(content))
        request.wfile.write(content[: len(content) // 2])

    return answer


def without_length(content: bytes) -> Answer:
    """Says nothing of the length and closes after the content."""

    def answer(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)

    return answer


def closed_port() -> str:
    """A URL where nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{reserved.getsockname()[1]}/"

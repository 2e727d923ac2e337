"""A local web server whose responses a test chooses, faulty ones included."""

import http.server
import socket
import threading
from collections.abc import Callable
from typing import Self

Request = http.server.BaseHTTPRequestHandler
# The content, a status code, or a function that writes the response.
Answer = bytes | int | Callable[[Request], None]


class Server:
    """A web server that responds with `answers`, by path; used in a with statement."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.over = threading.Event()  # ends the responses that would never end
        server = self

        class Handler(Request):
            def do_GET(self) -> None:  # noqa: N802, the name that http.server calls
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
        self.http.handle_error = lambda *_: None  # a client may close the connection early
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def silent(self, _request: Request) -> None:
        """Accept the request and never respond."""
        self.over.wait(30)

    def stalling(self, content: bytes) -> Answer:
        """Return a response that sends half of the content and leaves the connection open."""

        def answer(request: Request) -> None:
            cut_off(content)(request)
            self.over.wait(30)

        return answer

    def dripping(self, content: bytes, pause: float) -> Answer:
        """Return a response that pauses after each byte, never long enough for a timeout."""

        def answer(request: Request) -> None:
            promise(request, len(content))
            for value in content:
                request.wfile.write(bytes([value]))
                if self.over.wait(pause):
                    return

        return answer


def promise(request: Request, length: int) -> None:
    """Send the headers of a response with this content length."""
    request.send_response(200)
    request.send_header("Content-Length", str(length))
    request.end_headers()


def cut_off(content: bytes) -> Answer:
    """Return a response that closes the connection in the middle of the announced content."""

    def answer(request: Request) -> None:
        promise(request, len(content))
        request.wfile.write(content[: len(content) // 2])

    return answer


def without_length(content: bytes) -> Answer:
    """Return a response without a content length that closes the connection at its end."""

    def answer(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)

    return answer


def closed_port() -> str:
    """Return a URL at whose port no server listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{reserved.getsockname()[1]}/"

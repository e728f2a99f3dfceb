"""What tests and benchmarks have on loopback: a port that nobody uses, and small servers. It knows nothing of ferflow."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Quiet(BaseHTTPRequestHandler):
    """A handler of requests that prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server that answers as ``handler`` does; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Seen = list[tuple[str, str | None]]


@contextmanager
def giving(data: bytes) -> Iterator[tuple[str, Seen]]:
    """A server of ``data``, with ranges; gives its address, and what was asked for: (path, range).

    A word in the path changes the answer: 'cut' is half of it when asked for the whole, 'chunked' breaks off in its first chunk,
    'missing' is not there, 'wrong' is a page that says something else.
    """
    seen: Seen = []

    class Files(Quiet):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            seen.append((self.path, asked))
            content = b"<html>log in first</html>" if "wrong" in self.path else data
            start = int((asked or "bytes=0-")[6:-1])
            if "missing" in self.path or start >= len(content):
                self.send_error(404 if "missing" in self.path else 416)
            elif "chunked" in self.path and not start:
                self.chunk(content[: len(content) // 2])
            else:
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start : len(content) // 2 if "cut" in self.path and not start else None])

        def chunk(self, part: bytes) -> None:
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(part) + part)  # and no end of the chunk
            self.close_connection = True

    with answering(Files) as address:
        yield address, seen

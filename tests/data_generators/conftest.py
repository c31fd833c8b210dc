"""Fixtures: a web server on localhost, and an address without a server."""

import functools
import http.server
import threading

import pytest


@pytest.fixture
def serve(monkeypatch):
    """serve(folder) or serve(handler) starts a web server and returns its address."""
    monkeypatch.setenv("no_proxy", "*")
    running = []

    def start(what) -> str:
        handler = what if isinstance(what, type) else functools.partial(QuietHandler, directory=str(what))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def no_network(monkeypatch) -> str:
    """An address that refuses connections."""
    monkeypatch.setenv("no_proxy", "*")
    return "http://127.0.0.1:1"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without writing a log."""

    def log_message(self, *_):
        """Writes nothing."""

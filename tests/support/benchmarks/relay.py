"""A unix socket before the engine's that passes everything on and writes down the requests."""

import socket
import threading
import time

from .engine import EngineError


class Relay:
    """`calls` holds (monotonic time, method, path without version and query)."""

    def __init__(self, engine, path):
        self.engine = engine
        self.path = str(path)
        self.calls = []
        self.deaths = []  # monotonic times at which a `die` event was passed on
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self):
        return f"unix://{self.path}"

    def forget(self):
        self.calls = []
        self.deaths = []

    def wait_for(self, path, patience=30):
        """When this path was first asked for."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            for at, _, asked in list(self.calls):
                if asked == path:
                    return at
            time.sleep(0.01)
        raise EngineError(f"nobody asked for {path} within {patience} s")

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self.engine)
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client, server):
        reader = client.makefile("rb")
        try:
            while line := reader.readline():
                at = time.monotonic()
                head = [line]
                length, chunked, upgrade = 0, False, False
                while (field := reader.readline()) not in (b"\r\n", b""):
                    head.append(field)
                    name, _, value = field.decode("latin-1").partition(":")
                    name, value = name.strip().lower(), value.strip().lower()
                    if name == "content-length":
                        length = int(value)
                    chunked |= name == "transfer-encoding" and "chunked" in value
                    upgrade |= name == "upgrade"
                head.append(b"\r\n")
                method, target, _ = line.decode("latin-1").split(" ", 2)
                self.calls.append((at, method, _plain(target)))
                server.sendall(b"".join(head) + reader.read(length))
                while chunked:
                    size = reader.readline()
                    server.sendall(size + reader.read(int(size.split(b";")[0], 16) + 2))
                    chunked = int(size.split(b";")[0], 16) != 0
                if upgrade:
                    while data := reader.read1(65536):
                        server.sendall(data)
        except (OSError, ValueError):
            pass
        _shut(server, socket.SHUT_WR)

    def _answers(self, server, client):
        try:
            while data := server.recv(65536):
                if b'"Action":"die"' in data:
                    self.deaths.append(time.monotonic())
                client.sendall(data)
        except OSError:
            pass
        _shut(client, socket.SHUT_RDWR)
        server.close()


def _plain(target):
    path = target.split("?")[0]
    first, _, rest = path.lstrip("/").partition("/")
    versioned = first[:1] == "v" and first[1:].replace(".", "").isdigit()
    return "/" + rest if versioned else path


def _shut(sock, how):
    try:
        sock.shutdown(how)
    except OSError:
        pass

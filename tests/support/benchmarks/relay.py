"""A unix socket before the engine's that passes everything on and writes down the requests.

The relay is a process of its own with one thread: beside other Python threads it would wait for
the interpreter's lock, up to 5 ms at a time, and show that as the time of whoever it watches.
Run as a script, `relay.py ENGINE SOCKET`, it is that process.
"""

import pathlib
import selectors
import socket
import subprocess
import sys
import threading
import time


class Relay:
    """`calls` holds (monotonic time, method, path without version and query), `deaths` the
    monotonic times at which a `die` event was passed on. Both are complete up to the last
    `settle`."""

    def __init__(self, engine, path):
        self.path = str(path)
        self.calls = []
        self.deaths = []
        self.changed = threading.Condition()
        self.echoes = 0
        self.process = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__), engine, self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def host(self):
        return f"unix://{self.path}"

    def forget(self):
        self.settle()
        with self.changed:
            self.calls, self.deaths = [], []

    def settle(self):
        """Waits until all that the relay passed on before is written down here."""
        with self.changed:
            wanted = self.echoes + 1
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            if not self.changed.wait_for(lambda: self.echoes >= wanted, 30):
                raise RuntimeError("the relay gave no answer within 30 s")

    def wait_for(self, path, patience=30):
        """When this path was first asked for."""
        def asked():
            return [at for at, _, called in self.calls if called == path]
        with self.changed:
            if not self.changed.wait_for(asked, patience):
                raise RuntimeError(f"nobody asked for {path} within {patience} s")
            return asked()[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            what, *rest = line.split()
            with self.changed:
                if what == "call":
                    self.calls.append((float(rest[0]), rest[1], rest[2]))
                elif what == "die":
                    self.deaths.append(float(rest[0]))
                else:
                    self.echoes += 1
                self.changed.notify_all()


def requests(note):
    """Reads a client's bytes, as they come through `send`, and notes each request's head."""
    data = yield

    def line():
        nonlocal data
        while b"\n" not in data:
            data += yield
        one, data = data.split(b"\n", 1)
        return one.rstrip(b"\r")

    def skip(length):
        nonlocal data
        while len(data) < length:
            length -= len(data)
            data = yield
        data = data[length:]

    while True:
        head = yield from line()
        at = time.monotonic()
        if not head:
            continue
        fields = {}
        while field := (yield from line()):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.strip().lower()] = value.strip().lower()
        method, target, _ = head.decode("latin-1").split(" ", 2)
        note(f"call {at:.6f} {method} {_plain(target)}")
        yield from skip(int(fields.get("content-length", 0)))
        size = 1 if "chunked" in fields.get("transfer-encoding", "") else 0
        while size:
            size = int((yield from line()).split(b";")[0], 16)
            yield from skip(size + 2)
        while "upgrade" in fields:
            data = yield


def _plain(target):
    path = target.split("?")[0]
    first, _, rest = path.lstrip("/").partition("/")
    versioned = first[:1] == "v" and first[1:].replace(".", "").isdigit()
    return "/" + rest if versioned else path


def _note(line):
    print(line, flush=True)


def _shut(sock, how):
    try:
        sock.shutdown(how)
    except OSError:
        pass


class _Loop:
    def __init__(self, engine, path):
        self.engine = engine
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # An earlier relay may have listened there.
        pathlib.Path(path).unlink(missing_ok=True)
        self.listener.bind(path)
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin, selectors.EVENT_READ, self._echo)
        self.over = False

    def run(self):
        _note("ready")
        while not self.over:
            for key, _ in self.selector.select():
                key.data()

    def _echo(self):
        if sys.stdin.readline():
            _note("echo")
        else:
            self.over = True

    def _accept(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(self.engine)
        reader = requests(_note)
        next(reader)
        pair = {"open": 2, "socks": (client, server)}
        self._pass_on(client, server, reader.send, pair)
        self._pass_on(server, client, self._look, pair)

    @staticmethod
    def _look(data):
        if b'"Action":"die"' in data:
            _note(f"die {time.monotonic():.6f}")

    def _pass_on(self, source, target, look, pair):
        def readable():
            try:
                data = source.recv(65536)
                if data:
                    look(data)
                    target.sendall(data)
                    return
            except OSError:
                pass
            self.selector.unregister(source)
            _shut(target, socket.SHUT_WR)
            pair["open"] -= 1
            if not pair["open"]:
                for sock in pair["socks"]:
                    sock.close()

        self.selector.register(source, selectors.EVENT_READ, readable)


if __name__ == "__main__":
    _Loop(*sys.argv[1:]).run()

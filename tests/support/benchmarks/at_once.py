"""Asks an engine for something as soon as it hears of a death, and does nothing else: what any
client at least takes. `at_once.py SOCKET PATH`, until it is ended."""

import socket
import sys


def connect(path):
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(path)
    return stream


def main():
    path, target = sys.argv[1:]
    events, asking = connect(path), connect(path)
    events.sendall(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
    request = f"POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n".encode()
    while data := events.recv(65536):
        if b'"Action":"die"' in data:
            asking.sendall(request)
            asking.recv(65536)


main()

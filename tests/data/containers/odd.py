"""A container for the tests of scaling and of the front: it counts what is in flight, waits for a file, answers badly.

Environment: NOTES (folder) gets INSTANCE.peak (most requests at once) and INSTANCE.sent (bytes of /endless); requests
to /hold are answered once NOTES/hold is gone; with NOTES/broken it exits at its start. SIGTERM: what is in flight is
answered, idle connections are closed.
GET /, /hold, /headers, /gone (closes), /garbage, /half, /torn, /flood, /twice, /switch, /hints, /until-closed, /empty,
/unchanged, /moved, /endless; POST /echo answers while it reads, /early before it does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

NOTES = Path(os.environ["NOTES"])
NAME = os.environ["MODELSHELF_INSTANCE_ID"]
BAD = {
    "/gone": b"",
    "/garbage": b"this is not HTTP\r\n\r\n",
    "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "/torn": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000,
    "/twice": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "/switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tls\r\n\r\n",
    "/until-closed": b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
}
GOOD = {
    "/hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhints",
    "/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /here?a=1\r\nContent-Length: 0\r\n\r\n",
    "/unchanged": b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 7\r\n\r\n',
}


class Server:
    def __init__(self) -> None:
        self.in_flight = 0
        self.peak = 0
        self.stopping = False
        self.idle: set[asyncio.StreamWriter] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.stopping:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                if not await self.request(head, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.idle.discard(writer)
            writer.close()

    async def request(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *lines = head.decode("latin-1").strip().split("\r\n")
        method, path, _ = line.split(" ")
        headers = [tuple(each.split(": ", 1)) for each in lines]
        self.in_flight += 1
        if self.in_flight > self.peak:
            self.peak = self.in_flight
            (NOTES / f"{NAME}.peak").write_text(str(self.peak), encoding="ascii")
        try:
            while path == "/hold" and (NOTES / "hold").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            self.in_flight -= 1
        if path in BAD:
            writer.write(BAD[path])
            await writer.drain()
            return False
        if path in ("/flood", "/endless"):
            await self.pour(path, writer)
        elif path == "/echo":
            await self.echo(reader, writer)
        elif path in GOOD:
            writer.write(GOOD[path])
        else:
            answer = json.dumps(headers if path == "/headers" else {"instance": NAME, "path": path}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nSet-Cookie: a=1\r\n" % len(answer))
            writer.write(b"Set-Cookie: b=2\r\n\r\n")
            writer.write(answer if method != "HEAD" else b"")
        await writer.drain()
        return path != "/early"

    async def pour(self, path: str, writer: asyncio.StreamWriter) -> None:
        sent = 0
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if path == "/endless" else b""))
        while True:
            writer.write(b"X-Header: " + b"x" * 1000 + b"\r\n")
            await writer.drain()
            sent += 1012
            if sent % 1_012_000 == 0:
                (NOTES / f"{NAME}.sent").write_text(str(sent), encoding="ascii")

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):
            writer.write(b"%x\r\n%b\r\n" % (size, await reader.readexactly(size)))
            await reader.readline()
        await reader.readline()
        writer.write(b"0\r\n\r\n")


async def main() -> None:
    if (NOTES / "broken").exists():
        print("the reason is written here", flush=True)
        raise SystemExit(7)
    server = Server()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listener = await asyncio.start_server(server.connection, "127.0.0.1", int(os.environ["PORT"]), backlog=512)
    await stop.wait()
    server.stopping = True
    listener.close()
    for writer in list(server.idle):
        writer.close()
    while server.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # what was just answered is on its way


if __name__ == "__main__":
    asyncio.run(main())

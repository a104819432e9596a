"""An object store and a server of memories, each a process that listens at a port of this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request

OBJECT_STORE = "import sys\nfrom moto.server import main\nmain(['-H', '127.0.0.1', '-p', sys.argv[1]])"
SERVER = """
import sys, time
from lance.namespace import RestAdapter
with RestAdapter('dir', {'root': sys.argv[2]}, port=int(sys.argv[1])):
    time.sleep(3600)
"""
ROAD = """
import asyncio, sys
async def carry(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def take(reader, writer):
    there = await asyncio.open_connection('127.0.0.1', int(sys.argv[2]))
    await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))
async def main():
    async with await asyncio.start_server(take, '127.0.0.1', int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""
"""Carries connections on to a second port."""
START_LIMIT_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def to_object_store(port: int) -> dict[str, str]:
    """Environment variables of who uses the object store at a port."""
    return {**CREDENTIALS, "AWS_ENDPOINT": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}


def make_bucket(port: int, name: str) -> None:
    """Make a bucket in the object store at a port."""
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")).close()


def started(code: str, port: int, *args: str) -> subprocess.Popen:
    """A process that listens at the port by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(port), *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(int(START_LIMIT_S / 0.05)):
        with socket.socket() as there:
            there.settimeout(0.05)
            if there.connect_ex(("127.0.0.1", port)) == 0:
                return process
        try:
            process.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            pass
    process.kill()
    raise RuntimeError(f"{code}: expected it to listen at {port}, found it does not: {process.wait()}")

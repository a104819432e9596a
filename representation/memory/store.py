"""`Store`: the tables of an episode memory, in a directory, on an object store, or with a server for a fleet."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lancedb
import pyarrow as pa
from lance_namespace.errors import LanceNamespaceError

OBJECT_STORES = ("s3", "gs", "az")
SERVERS = ("http", "https")
API_KEY_VARIABLE = "LANCEDB_API_KEY"
MADE_BY_ANOTHER = ("already exists", "concurrently created", "concurrent transaction")
MAKING_S = 5.0  # a table is listed before it can be opened


class Store:
    """A LanceDB database at an address.

    `s3://`, `gs://` and `az://BUCKET/PATH` are object stores; credentials, region and endpoint come from the variables
    that their own tools read (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT, ...). `http(s)://HOST/NAME` is the memory of
    that name with a server of the Lance REST namespace (lance.org/format/namespace), which tells where its tables are;
    it is shown the value of LANCEDB_API_KEY, if there is one. All else is a directory.

    Args:
        address: where it is.

    Raises:
        ValueError: another scheme, or an address without a bucket or host, or without a name.
    """

    def __init__(self, address: str) -> None:
        scheme, found, rest = address.partition("://")
        self.address = address
        self.directory = None if found else Path(address)
        self._namespace: list[str] = []
        self._options: dict[str, Any] = {"uri": address}
        if not found:
            return
        if scheme not in (*OBJECT_STORES, *SERVERS):
            known = ", ".join((*OBJECT_STORES, *SERVERS))
            raise ValueError(f"{address}: expected a directory, or an address of {known}, found {scheme}")
        host, _, path = rest.partition("/")
        if not host or not path.strip("/") or "@" in host or urlsplit(address).query:
            found = "credentials" if "@" in host else repr(rest)  # which no log shall tell
            raise ValueError(f"memory: expected {scheme}://HOST/NAME and no more, found {found}")
        if scheme in SERVERS:
            server, name = address.rstrip("/").rsplit("/", 1)
            key = os.environ.get(API_KEY_VARIABLE)
            properties = {"uri": server, **({"header.x-api-key": key} if key else {})}
            self._namespace = [name]
            self._options = {"namespace_client_impl": "rest", "namespace_client_properties": properties}

    @property
    def is_foreign(self) -> bool:
        """Whether something is in the directory, or a file in its place."""
        there = self.directory
        return there is not None and there.exists() and (not there.is_dir() or any(there.iterdir()))

    def tables(self) -> set[str]:
        """The names of the tables there; none where nothing is.

        Raises:
            ValueError, ConnectionError: see `told`.
        """
        if self.directory is not None and not self.directory.exists():
            return set()
        with self.told("its tables", ValueError):
            try:
                return set(self._database.list_tables(namespace_path=self._namespace).tables)
            except (RuntimeError, LanceNamespaceError) as error:
                if "Namespace not found" in str(error):
                    return set()
                raise

    def begin(self) -> None:
        """Make room for tables where a server must be told."""
        with self.told("room"):
            try:
                if self._namespace:
                    self._database.create_namespace(self._namespace)
            except (RuntimeError, LanceNamespaceError) as error:
                if not any(sign in str(error) for sign in MADE_BY_ANOTHER):
                    raise

    def create(self, name: str, content: pa.Table) -> Any:
        """A new table with a content, or the one that is there already, or comes there at the same time.

        On an object store a creation that stalls may replace a table that another made and began to fill meanwhile, so
        make the memory of a fleet once before its arms start.
        """
        with self.told(name, ValueError), self._alone():
            try:
                return self._database.create_table(name, content, namespace_path=self._namespace)
            except (ValueError, RuntimeError, LanceNamespaceError) as error:
                if not any(sign in str(error) for sign in MADE_BY_ANOTHER):
                    raise
        return self.open(name)

    def open(self, name: str) -> Any:
        """A table that is there, or is just being made; each read of it sees the newest commit."""
        with self.told(name, ValueError):
            limit = time.monotonic() + MAKING_S
            while True:
                try:
                    return self._database.open_table(name, namespace_path=self._namespace)
                except (ValueError, RuntimeError, LanceNamespaceError) as error:
                    if "not found" not in str(error) or time.monotonic() > limit:
                        raise
                time.sleep(MAKING_S / 50)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the directory, if it is one: LanceDB's creations there may replace each other."""
        if self.directory is None:
            yield
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def told(self, what: str, *others: type[Exception]) -> Iterator[None]:
        """Turn what LanceDB raises, and others, into an error that names the memory.

        Raises:
            ValueError: of a directory: it is damaged.
            ConnectionError: of any other address: it is damaged, or cannot be reached.
        """
        try:
            yield
        except (RuntimeError, OSError, LanceNamespaceError, *others) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            kind = ConnectionError if self.directory is None else ValueError
            raise kind(f"{self.address}: expected {what} of a memory, found: {reason:.300}") from error

    @cached_property
    def _database(self) -> Any:
        return lancedb.connect(read_consistency_interval=timedelta(0), **self._options)

"""A console over an index, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import uvicorn

from stream.console.drifted import Drifted
from stream.console.guard import Access
from stream.console.index import Index
from stream.console.queue import Queue
from stream.console.saying import Saying
from stream.console.site import application


class Served:
    """A console over an index, on loopback."""

    def __init__(
        self,
        made: Index,
        token_file: Path | None = None,
        saying: Saying | None = None,
        queue: Queue | None = None,
        drift: Drifted | None = None,
    ) -> None:
        self.index, self._closing = made, asyncio.Event()
        config = uvicorn.Config(
            "",
            host="127.0.0.1",
            port=0,
            lifespan="off",
            log_config=None,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        socket = config.bind_socket()
        self.host = f"127.0.0.1:{socket.getsockname()[1]}"
        access = Access({self.host}, token_file, may_judge=saying is not None)
        config.app = application(made, access, closing=self._closing, saying=saying, queue=queue, drift=drift)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self._closing.set()
        self._server.should_exit = True
        self._thread.join(10)

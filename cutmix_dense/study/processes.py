"""Processes of a study: started with their own threads, logged, counted, and stopped with all their children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE = 10.0


class Stopped(Exception):
    """The study was interrupted while this process ran, or before it began."""


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        code: its exit code, negative for a signal.
        cpu_seconds: processor time of it and its children.
        wall_seconds: how long it took.
    """

    code: int
    cpu_seconds: float
    wall_seconds: float


class Processes:
    """Runs commands, each in a process group of its own, so that all can be stopped cleanly.

    Args:
        threads: of each process, through the variables of OpenMP and MKL.
        search: folder to put on the import path of Python children.
    """

    def __init__(self, threads: int, search: Path) -> None:
        self._environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            self._environment[name] = str(threads)
        before = self._environment.get("PYTHONPATH")
        self._environment["PYTHONPATH"] = os.pathsep.join([str(search), *([before] if before else [])])
        self._running: set[int] = set()
        self._stopping = False
        self._guard = threading.Lock()

    def run(self, command: Sequence[str], log: Path, keep: Sequence[int] = ()) -> Outcome:
        """Run a command to its end; its output is appended to ``log``.

        Args:
            command: program and arguments.
            log: file for standard output and error.
            keep: file descriptors that the child inherits.

        Raises:
            Stopped: ``stop`` was called.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            with self._guard:
                if self._stopping:
                    raise Stopped
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,  # a Ctrl-C goes to us alone, and we tell the whole group
                    pass_fds=tuple(keep),
                )
                self._running.add(process.pid)
            started = time.monotonic()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            with self._guard:
                self._running.discard(process.pid)
        if self._stopping:
            raise Stopped
        return Outcome(process.returncode, usage.ru_utime + usage.ru_stime, time.monotonic() - started)

    def stop(self) -> None:
        """Ask all processes to end, kill those that don't, and let none begin."""
        with self._guard:
            self._stopping = True
        self._signal(signal.SIGTERM)
        patience = time.monotonic() + _GRACE
        while self._running and time.monotonic() < patience:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._guard:
            for pid in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)

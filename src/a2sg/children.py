"""Child processes that do part of a command's work: each runs `a2sg` again, and ends when its parent does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from types import FrameType, TracebackType
from typing import IO

from a2sg.imports import OPTION, imported

ERROR = "a2sg: error: "
"""What a command writes before its one-line error."""
BEGUN = "A2SG_CHILD"
"""The environment variable that tells a process that it is a child."""


class Child:
    """A command of `a2sg` in its own process, which is killed if the context is left before it ends.

    Args:
        words: of the command, with its name.
        variables: of its environment, besides those of this process.
        heard: whether its output is shown at once; otherwise it is kept.
    """

    def __init__(self, words: Sequence[str], variables: Mapping[str, str], *, heard: bool) -> None:
        self.said: IO[bytes] | None = None if heard else TemporaryFile()  # noqa: SIM115  (closed with it)
        modules = [word for name in imported for word in (OPTION, name)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "a2sg", *words, *modules],
            env={**os.environ, **variables, BEGUN: "1"},
            stdin=subprocess.PIPE,  # which ends when this process does
            stdout=None if heard else subprocess.DEVNULL,
            stderr=self.said,
            start_new_session=True,  # so that Ctrl-C reaches only this process
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.said is not None:
            self.said.close()

    @property
    def status(self) -> int | None:
        """As in `subprocess`: minus the signal's number if a signal ended it; None while it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """End it at once, if it is running."""
        if self.status is None:
            self.process.kill()
            self.process.wait()

    def error(self) -> str | None:
        """The line in which it reported its error, without "a2sg: error:"; None if there is none."""
        if self.said is None:
            return None
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").splitlines()
        told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        return told[-1] if told else None

    def repeat(self) -> None:
        """Print its output on stderr, if it has not been shown."""
        if self.said is not None:
            self.said.seek(0)
            sys.stderr.flush()
            shutil.copyfileobj(self.said, sys.stderr.buffer)
            sys.stderr.flush()


@contextmanager
def passing_on(children: Iterable[Child], numbers: Collection[int]) -> Iterator[list[int]]:
    """Pass signals on to children as long as the context lasts: Ctrl-C as SIGTERM, on which a run is saved.

    Args:
        children: those that are running get the signal.
        numbers: of the signals, besides Ctrl-C; none where there is nothing to listen with.

    Yields:
        The numbers of the signals received, in order.
    """
    came: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        came.append(number)
        for child in list(children):
            if child.status is None:
                child.process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    before = {
        number: signal.signal(number, pass_on) for number in ([*numbers, signal.SIGINT] if numbers else [])
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_child() -> bool:
    """Whether this process is one."""
    return BEGUN in os.environ


def follow() -> None:
    """In a child: end as soon as its parent ends, for whatever reason."""
    if is_child():

        def wait() -> None:
            os.read(0, 1)  # of stdin, on which nothing but the end ever arrives
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()

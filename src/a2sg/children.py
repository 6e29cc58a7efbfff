"""Processes that do a part of a command's work: each is `a2sg` again, and ends with the one that began it."""

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
"""What a command writes before the one line of an error."""
BEGUN = "A2SG_CHILD"
"""The variable that tells a process that it is one."""


class Child:
    """A command of `a2sg` in a process of its own, which is killed if the context is left before it ends.

    Args:
        words: of the command, with its name.
        variables: of its environment, beside those of this process.
        heard: whether what it says is seen at once; else it is kept.
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
            start_new_session=True,  # so that Ctrl-C comes here alone
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
        """As `subprocess` gives it: minus a signal's number if one ended it; None as long as it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.status is None:
            self.process.kill()
            self.process.wait()

    def error(self) -> str | None:
        """The one line in which it told its error, without "a2sg: error:"; None if there is none."""
        if self.said is None:
            return None
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").splitlines()
        told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        return told[-1] if told else None

    def repeat(self) -> None:
        """Say on stderr what it has said, if that was not seen."""
        if self.said is not None:
            self.said.seek(0)
            sys.stderr.flush()
            shutil.copyfileobj(self.said, sys.stderr.buffer)
            sys.stderr.flush()


@contextmanager
def passing_on(children: Iterable[Child], numbers: Collection[int]) -> Iterator[list[int]]:
    """Pass signals on to children as long as the context lasts: Ctrl-C as SIGTERM, with which a run is saved.

    Args:
        children: those that run are told.
        numbers: of the signals, beside Ctrl-C; none where there is nothing to listen with.

    Yields:
        The numbers of those that came, in their order.
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
    """In a child: end as soon as the process that began it does, whatever ended that."""
    if is_child():

        def wait() -> None:
            os.read(0, 1)  # of stdin, where nothing ever comes but the end
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()

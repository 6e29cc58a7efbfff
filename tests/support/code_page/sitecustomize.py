"""Makes a process open text files as a Windows code page would: that of A2SG_TEST_CODE_PAGE."""

import builtins
import io
import os
from typing import Any

PAGE = os.environ["A2SG_TEST_CODE_PAGE"]
opened = io.open


def opened_as_there(
    file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, *others: Any, **more: Any
) -> Any:
    if "b" not in mode and encoding in (None, "locale"):
        encoding = PAGE
    return opened(file, mode, buffering, encoding, *others, **more)


io.open = builtins.open = opened_as_there

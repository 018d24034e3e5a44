"""Which of the processes that `torchrun` or `accelerate launch` started this one is.

Both tell it by environment variables, so that no module needs torch to know.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FAILURE_FILE = "ZHLLM_FAILURE_FILE"  # names a file in which the process that failed first says why


def rank() -> int:
    """This process's number among all; 0 where there is only one."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes work together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def tell_failure(exit_code: int, message: str) -> bool:
    """Tell whoever launched these processes why one failed; False where nobody asked. The first one is heard."""
    path = os.environ.get(FAILURE_FILE)
    if path is None:
        return False
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            json.dump({"exit_code": exit_code, "message": message}, file)
    except FileExistsError:
        pass
    return True

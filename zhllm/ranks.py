"""Which of the processes that `torchrun` or `accelerate launch` started this one is.

Both tell it by environment variables, so that no module needs torch to know.
"""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number among all; 0 where there is only one."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes work together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0

"""Metrics for those who watch: TensorBoard, wandb and swanlab through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zhllm.errors import MissingError
from zhllm.train.tally import Record


class Trackers:
    """Sends records to the named trackers; a context that closes them."""

    def __init__(self, names: Sequence[str], folder: Path, config: Any) -> None:
        """`folder` is where those that write files put them. MissingError where one is not installed."""
        self._trackers: list[Any] = []
        if not names:
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS
        from accelerate.utils import is_swanlab_available, is_tensorboard_available, is_wandb_available

        available = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available,
                     "swanlab": is_swanlab_available}  # fmt: skip
        settings = {name: str(value) for name, value in config.model_dump(mode="json").items()}
        for name in names:
            if not available[name]():
                raise MissingError(f"--track {name}: is not installed. Run pip install {name}, or leave it out.")
            folder.mkdir(parents=True, exist_ok=True)
            kind: Any = LOGGER_TYPE_TO_CLASS[name]
            directory = {"logging_dir": str(folder)} if kind.requires_logging_directory else {}
            tracker = kind("zhllm", **directory)
            tracker.start()
            tracker.store_init_configuration(settings)
            self._trackers.append(tracker)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def log(self, record: Record) -> None:
        """A record's numbers at its step."""
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "step"}
        for tracker in self._trackers:
            tracker.log(numbers, step=record["step"])

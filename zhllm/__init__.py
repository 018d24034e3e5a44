"""zhllm builds a private Chinese model from an open base; every hand-over between stages is proved."""

__version__ = "0.1.0"

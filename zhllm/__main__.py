"""`python -m zhllm` is the `zhllm` command."""

from zhllm.cli import main

if __name__ == "__main__":
    main()

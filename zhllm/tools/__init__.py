"""Commands that write no folder."""

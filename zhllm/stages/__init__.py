"""One module per command that writes a folder."""

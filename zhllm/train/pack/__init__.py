"""Text to token sets on disk, and rows read from them."""

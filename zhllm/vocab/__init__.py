"""Tokenizers: learning pieces, extending a base, proving engines equal. No torch."""

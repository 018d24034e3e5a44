"""Scores: bits per character, question answering."""

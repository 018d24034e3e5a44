"""Engines that answer: transformers and llama.cpp."""

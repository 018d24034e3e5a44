"""Weights: streams of safetensors, embeddings, LoRA, GGUF."""

"""Batches, losses and the one training loop."""

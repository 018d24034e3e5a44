"""What training needs before it is begun: FLOPs, memory, hours, and what fits."""

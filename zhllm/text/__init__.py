"""Text in, text out: readers, clean-up, quality rules, prompt formats. No torch."""

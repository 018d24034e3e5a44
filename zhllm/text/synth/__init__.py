"""Question-answer pairs from documents: outlines, chunks, rules, prompts, and what keeps a pair grounded."""

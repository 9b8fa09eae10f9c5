"""The selectors of the theory on language models: which pair of responses to have judged next, and by whom."""

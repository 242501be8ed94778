"""The character model: a small Llama trained on the English text that comes with CPython."""

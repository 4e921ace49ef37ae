"""Random calls of every operation, sensible and hostile, beside PyTorch. ``python -m fuzz --examples 200000``; see ``judge.py``."""

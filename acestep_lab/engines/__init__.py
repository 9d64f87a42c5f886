"""Engines: one model family each, behind the contract in `base.py`; `registry.py` finds the one a name stands for."""

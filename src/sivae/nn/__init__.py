"""The model of the paper, torch only; read `_module.py` first."""

"""From a checkpoint to one verified file: folding, export, verification.

Nothing is imported here: `runtime.py` runs without torch and mm*.
"""

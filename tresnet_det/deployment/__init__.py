"""From a checkpoint to one verified file that runs anywhere.

Nothing is imported here: `runtime.py` runs without torch and mm*.
"""

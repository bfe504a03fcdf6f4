"""How much memory is free."""

from pathlib import Path

__all__ = ['free_ram']

MEMORY = Path('/proc/meminfo')


def free_ram() -> float | None:
    """Bytes of RAM that a new program may take; None where nobody tells."""
    try:
        lines = MEMORY.read_text().splitlines()
        entries = dict(line.split(':') for line in lines)
        return 1024 * float(entries['MemAvailable'].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux, or a container's
        return None

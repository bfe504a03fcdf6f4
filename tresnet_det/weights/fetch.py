"""Finding the file that the name of a checkpoint means.

Downloads are the business of huggingface_hub and torch.hub, which keep the
files in their own caches.
"""

import difflib
import hashlib
import os
import re
from pathlib import Path

import torch

from .formats import CheckpointError

__all__ = ['PUBLISHED', 'fetch']

# Weights on the Hugging Face hub under timm/, by huggingface_hub's client.
PUBLISHED = (
    'tresnet_m.miil_in21k_ft_in1k',
    'tresnet_m.miil_in21k',
    'tresnet_m.miil_in1k',
    'tresnet_m.miil_in1k_448',
    'tresnet_l.miil_in1k',
    'tresnet_l.miil_in1k_448',
    'tresnet_xl.miil_in1k',
    'tresnet_xl.miil_in1k_448',
    'tresnet_v2_l.miil_in21k_ft_in1k',
    'tresnet_v2_l.miil_in21k',
)
_HUB_FILES = ('model.safetensors', 'pytorch_model.bin')


def fetch(checkpoint: str | os.PathLike) -> Path:
    """Find the file that a checkpoint's name means, downloading if need be.

    Args:
        checkpoint: Path of a file, ``timm://NAME`` (the repository timm/NAME
            of the Hugging Face hub, kept in its cache) or an http(s) address
            (kept in torch.hub's cache).

    Raises:
        CheckpointError: It is no name, has an unknown scheme, or the download
            failed and nothing is in the cache.
    """
    if not isinstance(checkpoint, str):
        if not isinstance(checkpoint, os.PathLike):
            raise CheckpointError(
                f'the checkpoint is {checkpoint!r}; expected is a path, '
                'timm://NAME or an http(s) address'
            )
        return Path(checkpoint)
    scheme, found, rest = checkpoint.partition('://')
    if not found:
        return Path(checkpoint).expanduser()
    if scheme == 'timm':
        return _from_hub(rest)
    if scheme in ('http', 'https'):
        return _from_web(checkpoint)
    raise CheckpointError(
        f'{checkpoint!r} begins with the unknown scheme {scheme}://; give a '
        'path, timm://NAME, http://... or https://...'
    )


def _from_hub(name: str) -> Path:
    """Download timm/NAME, or find it in the hub client's cache."""
    # Late: not needed to read a file, and it settles its cache on import.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError

    def failed(error: Exception) -> CheckpointError:
        says = str(error).partition('\n')[0]
        near = difflib.get_close_matches(name, PUBLISHED, n=3)
        known = (
            ''
            if name in PUBLISHED
            else (
                f' No weights of that name are known; '
                f'{"near are" if near else "known are"} '
                f'{", ".join(near or PUBLISHED)}.'
            )
        )
        return CheckpointError(
            f'timm://{name} could not be downloaded and is not in the cache '
            f'({type(error).__name__}: {says}).{known} '
            f'Without network: download {_HUB_FILES[0]} from '
            f'https://huggingface.co/timm/{name} on another machine and give '
            "its path, checkpoint='/path/to/model.safetensors'."
        )

    for filename in _HUB_FILES:
        try:
            path = Path(hf_hub_download(f'timm/{name}', filename))
        except EntryNotFoundError as error:
            missing = error  # the other file may be there, or in the cache
        except Exception as error:  # the client's errors share no base class
            raise failed(error) from error
        else:
            _check_sha256(path)
            return path
    raise failed(missing) from missing


def _check_sha256(path: Path) -> None:
    """Compare a file of the hub's cache with its checksum.

    The cache's link leads to a blob named by its sha256; the client itself
    compares the size alone.
    """
    if not path.is_symlink():
        return
    expected = Path(os.readlink(path)).name
    if not re.fullmatch(r'[0-9a-f]{64}', expected):
        return
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for chunk in iter(lambda: file.read(1 << 20), b''):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise CheckpointError(
            f'{path} is damaged: its sha256 is {digest.hexdigest()}, the '
            f"hub's {expected}. Delete {path.resolve()} and try again"
        )


def _from_web(url: str) -> Path:
    """Download an address into torch.hub's folder, or find it there."""
    name = re.sub(r'[?#].*', '', url).rpartition('/')[2] or 'weights'
    # Files of one name at two addresses must not be taken for one another.
    mark = hashlib.sha256(url.encode()).hexdigest()[:12]
    path = Path(torch.hub.get_dir()) / 'tresnet_det' / f'{mark}-{name}'
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f'{url} could not be downloaded ({error}). Download it by '
                'other means and give the path of the file'
            ) from error
    return path

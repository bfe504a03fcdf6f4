"""Pictures within a page of HTML, which then is one file and needs no network."""

import base64

import cv2
import numpy as np

__all__ = ['data_uri', 'jpeg_uri']

_QUALITY = 85  # of JPEG


def data_uri(content: bytes, kind: str) -> str:
    """What an <img> has as its source.

    Args:
        content: Of an image file.
        kind: 'jpeg', 'png' or 'svg+xml'.
    """
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def jpeg_uri(image: np.ndarray) -> str:
    """A picture as JPEG.

    Args:
        image: uint8 BGR (height, width, 3).
    """
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data_uri(content.tobytes(), 'jpeg')

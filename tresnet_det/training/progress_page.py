"""One page that shows how a training goes: figures, curves, detections.

It is one file with everything in it, so it can be copied, sent, and opened
without a network.
"""

import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..common.atomic import written_whole
from ..common.html_pictures import data_uri, jpeg_uri
from ..evaluation.figures import curves_of, read_scalars

__all__ = ['PAGE', 'write_page']

PAGE = 'progress.html'
_AGAIN = 60  # seconds until a browser reads the page again
_ROWS = 10  # last evaluations in the table
_WIDTH = 1200  # pixels of a picture, at most
# Name in the log -> heading.
_COLUMNS = {
    'coco/bbox_mAP': 'AP',
    'coco/bbox_mAP_50': 'AP50',
    'coco/bbox_mAP_75': 'AP75',
    'coco/bbox_mAP_s': 'small',
    'coco/bbox_mAP_m': 'medium',
    'coco/bbox_mAP_l': 'large',
    'val_loss': 'val loss',
}
_STYLE = """body{font-family:sans-serif;max-width:75em;margin:1em auto;padding:0 1em}
img{max-width:100%}td,th{padding:.2em .8em;text-align:right}
figure{margin:1em 0}figcaption{color:#555}"""


def write_page(
    work_dir: str | os.PathLike,
    title: str,
    state: str,
    pictures: Mapping[str, np.ndarray],
) -> Path:
    """Writes ``progress.html`` anew, whole.

    Args:
        work_dir: Of the training; what it logged is read.
        title: Of the page.
        state: How far the training is, in words.
        pictures: Caption -> uint8 RGB (height, width, 3), ground truth left
            and detections right.

    Raises:
        OSError: The disk takes no more.
    """
    work_dir = Path(work_dir)
    scalars = read_scalars(work_dir)
    parts = [f'<h1>{html.escape(title)}</h1><p>{html.escape(state)}</p>']
    rows = [line for line in scalars if 'loss' not in line][-_ROWS:]
    if rows:
        parts.append(_table(rows))
    if scalars:
        curves = io.BytesIO()
        curves_of(scalars).savefig(curves, dpi=100, format='png')
        parts.append(_figure(data_uri(curves.getvalue(), 'png'), 'losses and AP'))
    if pictures:
        parts.append('<h2>Ground truth (left), detections (right)</h2>')
    for caption, picture in pictures.items():
        zoom = min(1, _WIDTH / picture.shape[1])
        small = cv2.resize(
            picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA
        )
        parts.append(_figure(jpeg_uri(small[..., ::-1]), caption))
    page = (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_AGAIN}">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style>'
        + '\n'.join(parts)
        + '</html>\n'
    )
    with written_whole(work_dir / PAGE) as part:
        part.write_text(page, encoding='utf-8')
    return work_dir / PAGE


def _table(rows: Sequence[Mapping]) -> str:
    columns = {k: v for k, v in _COLUMNS.items() if any(k in row for row in rows)}
    head = ''.join(f'<th>{name}</th>' for name in ('after', *columns.values()))
    body = ''.join(
        f'<tr><td>{row["step"]}</td>'
        + ''.join(f'<td>{_number(row.get(key))}</td>' for key in columns)
        + '</tr>'
        for row in rows
    )
    return f'<table><tr>{head}</tr>{body}</table>'


def _number(value: float | None) -> str:
    """COCO writes -1 where there is no such object."""
    return 'n/a' if value is None or value < 0 else f'{value:.3f}'


def _figure(uri: str, caption: str) -> str:
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="{uri}">'
        f'<figcaption>{caption}</figcaption></figure>'
    )

"""The report: one page of HTML that needs no network."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...common.atomic import written_whole
from ...common.errors import UserError
from ..proposal import anchor_overlaps, shown, sizes_at, usable_boxes
from . import figures
from .annotations import dropped
from .check import Checked
from .classes import class_counts
from .findings import Level
from .pictures import around, thumbnail
from .reading import ReadSplit
from .text import verdict

__all__ = ['check_report_folder', 'write_report']

PAGE = 'index.html'
MARK = '<!-- written by tools/check_data.py -->'
SAMPLES = 4  # of each class
MOST_CLASSES = 100  # that samples are shown of
TEMPLATE = Path(__file__).with_name('report.html.jinja')


def check_report_folder(folder: Path) -> None:
    """Whether a report may be written there.

    Raises:
        UserError: Something else than a report is in the way.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f'--report {folder} is a file: give the name of a folder')
    foreign = [p.name for p in folder.glob('*') if p.name != PAGE]
    page = folder / PAGE
    if foreign or page.exists() and not page.read_bytes()[:400].count(MARK.encode()):
        raise UserError(
            f'--report {folder} holds other files ({(foreign or [PAGE])[0]}): give the '
            'name of a new folder'
        )
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise UserError(
            '--report needs Jinja2: pip install "tresnet_det[data]"'
        ) from error


def write_report(checked: Checked, folder: Path) -> Path:
    """Writes the page, in place of an earlier one.

    Args:
        checked: What was found.
        folder: To make.
    """
    import jinja2

    check_report_folder(folder)
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string(TEMPLATE.read_text('utf-8'))
    page = template.render(**_content(checked))
    path = folder / PAGE
    with written_whole(path) as part:
        part.write_text(page, 'utf-8')
    return path


def _content(checked: Checked) -> dict[str, Any]:
    return dict(
        mark=MARK,
        verdict=verdict(checked),
        levels=[
            (level.value, [_finding(finding) for finding in checked.of(level)])
            for level in Level
        ],
        splits=[_split(read) for read in checked.reads],
        counts=class_counts(checked.reads),
        proposal=checked.proposal,
        shown=shown,
        figures=_figures(checked),
        samples=_samples(checked.reads[0]) if checked.reads else [],
        offenders=_offenders(checked.reads[0]) if checked.reads else [],
    )


def _finding(finding: Any) -> dict[str, Any]:
    shown = [
        (
            # A small box is not seen in a whole image.
            around(picture.path, picture.boxes[0])
            if len(picture.boxes) == 1
            else thumbnail(picture.path, picture.boxes),
            picture.caption,
        )
        for picture in finding.pictures
        if picture.path.is_file()
    ]
    return dict(
        where=finding.where,
        text=finding.text,
        remedy=finding.remedy,
        pictures=[(uri, caption) for uri, caption in shown if uri],
    )


def _split(read: ReadSplit) -> dict[str, Any]:
    return dict(
        name=read.split.name,
        file=str(read.split.ann_file),
        images=len(read.content['images']),
        looked_at=len(read.facts),
        boxes=len(read.content['annotations']),
        dropped={} if read.split.test_mode else dropped(read),
        changes=read.changes,
    )


def _figures(checked: Checked) -> list[dict[str, str]]:
    if not checked.proposal:
        return []
    proposal, head = checked.proposal, checked.data.head
    scale = checked.data.scale or proposal.scale
    read = checked.reads[0]
    boxes = usable_boxes(read.content, read.boxes)
    strides = head.get('strides') or proposal.strides
    ranges = head.get('regress_ranges') or proposal.regress_ranges
    if len(ranges) != len(strides):  # an anchor head's config has no ranges
        ranges = [(-1, 64), *((32 * 2**k, 64 * 2**k) for k in range(1, len(strides)))]
    anchor_scale = head.get('anchor_scale') or proposal.anchor_scale
    trained = sizes_at(boxes, scale)
    overlaps = anchor_overlaps(trained, tuple(strides), anchor_scale)
    whose = 'of the config' if checked.data.scale else 'proposed'
    shares = [
        np.mean((trained.max(1) / 2 > low) & (trained.max(1) / 2 <= high))
        for low, high in ranges
    ]
    ratios = boxes.boxes.max(1) / boxes.boxes.min(1)
    return [
        dict(
            title=f'Box sizes at {scale[0]} x {scale[1]} ({whose})',
            uri=figures.sizes(trained, ranges, strides, anchor_scale),
            text=(
                'Dashed: where one level of FCOS ends and the next begins (of strides '
                + ', '.join(
                    f'{stride}: {share:.0%}' for stride, share in zip(strides, shares)
                )
                + f" of the boxes). Triangles: RetinaNet's anchors; "
                f'{np.mean(overlaps >= 0.5):.1%} of the boxes have one with an IoU of '
                f'0.5 or more. {np.mean(trained.min(1) < strides[0]):.1%} of the boxes '
                f'are narrower than one cell of the finest level ({strides[0]} pixels).'
            ),
        ),
        dict(
            title='Shapes',
            uri=figures.shapes(boxes.boxes),
            text=(
                "Dashed: RetinaNet's anchors. "
                f'{np.mean(ratios > 4):.1%} of the boxes are more than four times as '
                'long as wide, for which anchors of 1:2 to 2:1 fit badly.'
            ),
        ),
        dict(
            title='Where boxes lie',
            uri=figures.heat_map(
                read.boxes.boxes[read.boxes.used()], boxes.images[boxes.image_of]
            ),
            text='All images are laid over each other. White: objects there are new '
            'to the detector.',
        ),
    ]


def _samples(read: ReadSplit) -> list[dict[str, Any]]:
    """Boxes of each class, spread over the file and of medium size."""
    if not read.facts:
        return []
    table, used = read.boxes, read.boxes.used()
    places = {name: place for place, name in enumerate(read.classes)}
    labels = np.array([places[c['name']] for c in read.content['categories']], int)[
        table.labels[used]
    ]
    areas = table.boxes[used, 2:].prod(1)
    samples = []
    for label, name in list(enumerate(read.classes))[:MOST_CLASSES]:
        own = np.flatnonzero(labels == label)
        if not len(own):
            continue
        order = own[np.argsort(areas[own], kind='stable')]
        # From small to large: the middle of each quarter.
        picks = [order[int((k + 0.5) / SAMPLES * len(order))] for k in range(SAMPLES)]
        shown = [around(*_place(read, used[pick])) for pick in dict.fromkeys(picks)]
        samples.append(
            dict(name=str(name), count=len(own), pictures=[u for u in shown if u])
        )
    return samples


def _offenders(read: ReadSplit) -> list[dict[str, Any]]:
    """Boxes that are most unlike the others."""
    if not read.facts:
        return []
    table, used = read.boxes, read.boxes.used()
    if not used.size:
        return []
    sides, images = table.boxes[used, 2:], table.sizes[used]
    widths, heights = sides.T
    share = sides.prod(1) / images.prod(1)
    offenders = []
    for title, measure in (
        ('smallest', share),
        ('largest', -share),
        ('flattest', heights / widths),
        ('narrowest', widths / heights),
    ):
        pictures = []
        for place in np.argsort(measure, kind='stable')[:SAMPLES]:
            path, box = _place(read, used[place])
            uri = around(path, box)
            if uri:
                category = read.content['categories'][table.labels[used[place]]]
                size = f'{widths[place]:.0f} x {heights[place]:.0f}'
                key = table.ids[used[place]]
                caption = f'{category["name"]}, {size}, {path.name}, id {key}'
                pictures.append((uri, caption))
        offenders.append(dict(title=title, pictures=pictures))
    return offenders


def _place(read: ReadSplit, box: int) -> tuple[Path, list[float]]:
    """The image that a box is on, and the box."""
    image = read.content['images'][read.boxes.images[box]]
    return read.path(image), read.content['annotations'][box]['bbox']

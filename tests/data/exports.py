"""Data sets written as annotation tools export them.

A set is a COCO file and a folder for each split; what is written has the tools'
own layouts and rounding.
"""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as et

import cv2
import numpy as np

FIRST_UPLOAD = '0a1b2c3d-'  # Label Studio puts eight such characters before a name


class Shot(NamedTuple):
    """An image of a set, and its objects: (class, [x, y, width, height])."""

    file: Path
    split: str
    size: tuple[int, int]
    objects: list[tuple[str, list[float]]]


def shots_of(root, limit=None):
    """The images of a folder with annotations/{train,val}.json."""
    shots = []
    for split in ('train', 'val'):
        content = json.loads((Path(root) / 'annotations' / f'{split}.json').read_text())
        names = {c['id']: c['name'] for c in content['categories']}
        objects = defaultdict(list)
        for a in content['annotations']:
            objects[a['image_id']].append((names[a['category_id']], a['bbox']))
        for image in content['images'][:limit]:
            file = Path(root, split, image['file_name'])
            size = image['width'], image['height']
            shots.append(Shot(file, split, size, objects[image['id']]))
    return shots


def drawn_shots(root, per_split=3, size=(96, 64), classes=('cat', 'dog')):
    """Small images of noise and blocks, with boxes in fractions of pixels."""
    rng = np.random.default_rng(0)
    shots = []
    for split, count in (('train', per_split), ('val', per_split - 1)):
        folder = Path(root) / split
        folder.mkdir(parents=True)
        for number in range(count):
            grid = rng.integers(0, 256, (4, 6, 3), np.uint8)
            picture = cv2.resize(grid, size, interpolation=cv2.INTER_NEAREST)
            objects = []
            for name in classes:
                x, y = rng.uniform(0, (size[0] - 40, size[1] - 30)).round(2).tolist()
                w, h = rng.uniform((12, 12), (38, 28)).round(2).tolist()
                objects.append((name, [x, y, w, h]))
            file = folder / f'{split}_{number}.jpg'
            cv2.imwrite(str(file), picture)
            shots.append(Shot(file, split, size, objects))
    return shots


def put(shot, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shot.file, target)


def classes_of(shots):
    return sorted({name for shot in shots for name, _ in shot.objects})


def voc(shots, root):
    """labelImg's and the challenges' layout: whole pixels, lists of stems."""
    lists = defaultdict(list)
    for shot in shots:
        top = et.Element('annotation')
        et.SubElement(top, 'filename').text = shot.file.name
        source = et.SubElement(top, 'source')
        et.SubElement(source, 'database').text = 'Unknown'
        size = et.SubElement(top, 'size')
        for tag, value in zip(('width', 'height', 'depth'), (*shot.size, 3)):
            et.SubElement(size, tag).text = str(value)
        for name, (x, y, w, h) in shot.objects:
            one = et.SubElement(top, 'object')
            et.SubElement(one, 'name').text = name
            et.SubElement(one, 'difficult').text = '0'
            box = et.SubElement(one, 'bndbox')
            corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), (x, y, x + w, y + h))
            for tag, value in corners:
                et.SubElement(box, tag).text = str(round(value))
        file = root / 'Annotations' / f'{shot.file.stem}.xml'
        file.parent.mkdir(parents=True, exist_ok=True)
        et.ElementTree(top).write(file)
        put(shot, root / 'JPEGImages' / shot.file.name)
        lists[shot.split].append(shot.file.stem)
    for split, stems in lists.items():
        file = root / 'ImageSets' / 'Main' / f'{split}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('\n'.join(stems))


def yolo(shots, root, valid='valid'):
    """Roboflow's layout: train and valid, each with images and labels."""
    classes = classes_of(shots)
    for shot in shots:
        split = valid if shot.split == 'val' else shot.split
        put(shot, root / split / 'images' / shot.file.name)
        wide, high = shot.size
        lines = [
            f'{classes.index(name)} {(x + w / 2) / wide:.6f} {(y + h / 2) / high:.6f} '
            f'{w / wide:.6f} {h / high:.6f}'
            for name, (x, y, w, h) in shot.objects
        ]
        label = root / split / 'labels' / f'{shot.file.stem}.txt'
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text('\n'.join(lines))
    (root / 'data.yaml').write_text(
        f'train: ../train/images\nval: ../{valid}/images\nnc: {len(classes)}\n'
        f'names: {json.dumps(classes)}\n'
    )


def label_studio(shots, root, minimal=False):
    """Its JSON has no images: they lie as they were before the upload."""
    for split in ('train', 'val'):
        tasks = []
        for number, shot in enumerate(shots, 1):
            if shot.split != split:
                continue
            put(shot, root / split / shot.file.name)
            wide, high = shot.size
            values = [
                dict(
                    x=100 * x / wide,
                    y=100 * y / high,
                    width=100 * w / wide,
                    height=100 * h / high,
                    rotation=0,
                    rectanglelabels=[name],
                )
                for name, (x, y, w, h) in shot.objects
            ]
            image = f'/data/upload/1/{FIRST_UPLOAD}{shot.file.name}'
            sizes = dict(original_width=wide, original_height=high)
            if minimal:
                labels = [dict(value, **sizes) for value in values]
                tasks.append(dict(id=number, image=image, label=labels))
                continue
            result = [
                dict(type='rectanglelabels', value=value, image_rotation=0, **sizes)
                for value in values
            ]
            made = [dict(id=number, was_cancelled=False, result=result)]
            tasks.append(dict(id=number, data=dict(image=image), annotations=made))
        (root / f'{split}.json').write_text(json.dumps(tasks))


def labelme(shots, root):
    """One JSON beside each image; names with a folder, as Windows writes them."""
    for shot in shots:
        put(shot, root / shot.split / shot.file.name)
        shapes = [
            dict(
                label=name,
                points=[[x + w, y], [x, y + h]],
                shape_type='rectangle',
                group_id=None,
                flags={},
            )
            for name, (x, y, w, h) in shot.objects
        ]
        content = dict(
            version='5.4.1',
            shapes=shapes,
            imagePath=f'..\\{shot.split}\\{shot.file.name}',
            imageData=None,
            imageWidth=shot.size[0],
            imageHeight=shot.size[1],
        )
        file = root / shot.split / f'{shot.file.stem}.json'
        file.write_text(json.dumps(content))


def cvat(shots, root):
    """CVAT for images 1.1, with subsets."""
    top = et.Element('annotations')
    labels = et.SubElement(et.SubElement(et.SubElement(top, 'meta'), 'task'), 'labels')
    for name in classes_of(shots):
        et.SubElement(et.SubElement(labels, 'label'), 'name').text = name
    for number, shot in enumerate(shots):
        put(shot, root / 'images' / shot.file.name)
        sizes = zip(('width', 'height'), map(str, shot.size))
        names = dict(id=str(number), name=shot.file.name, subset=shot.split.title())
        image = et.SubElement(top, 'image', names, **dict(sizes))
        for name, (x, y, w, h) in shot.objects:
            corners = zip(('xtl', 'ytl', 'xbr', 'ybr'), (x, y, x + w, y + h))
            edges = {tag: f'{value:.2f}' for tag, value in corners}
            et.SubElement(image, 'box', dict(label=name, occluded='0', **edges))
    et.ElementTree(top).write(root / 'annotations.xml')


def roboflow(shots, root):
    """COCO with numbers in quotes, a group without boxes, ids from 0."""
    classes = ['things', *classes_of(shots)]
    for split, folder in (('train', 'train'), ('val', 'valid')):
        images, annotations = [], []
        for shot in shots:
            if shot.split != split:
                continue
            put(shot, root / folder / shot.file.name)
            wide, high = shot.size
            file = shot.file.name
            images.append(dict(id=len(images), file_name=file, width=wide, height=high))
            for name, (x, y, w, h) in shot.objects:
                annotations.append(
                    dict(
                        id=len(annotations),
                        image_id=len(images) - 1,
                        category_id=classes.index(name),
                        bbox=[x, y, str(w), str(h)],
                        area=w * h,
                        iscrowd=0,
                    )
                )
        groups = ['none', *['things'] * (len(classes) - 1)]
        categories = [
            dict(id=i, name=name, supercategory=group)
            for i, (name, group) in enumerate(zip(classes, groups))
        ]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / folder / '_annotations.coco.json').write_text(json.dumps(content))


def coco(shots, root):
    """As CVAT and others lay it: one folder of annotations, one of images."""
    classes = classes_of(shots)
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        images, annotations = [], []
        for shot in shots:
            if shot.split != split:
                continue
            put(shot, root / 'images' / split / shot.file.name)
            images.append(
                dict(
                    id=len(images) + 1,
                    file_name=f'{shot.file.stem}.PNG',
                    width=shot.size[0],
                    height=shot.size[1],
                )
            )
            annotations += [
                dict(
                    id=len(annotations) + k,
                    image_id=len(images),
                    category_id=classes.index(name) + 1,
                    bbox=bbox,
                    area=bbox[2] * bbox[3],
                    iscrowd=0,
                )
                for k, (name, bbox) in enumerate(shot.objects, 1)
            ]
        categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        file = root / 'annotations' / f'instances_{split}.json'
        file.write_text(json.dumps(content))


EXPORTS = dict(
    voc=voc,
    yolo=yolo,
    label_studio=label_studio,
    labelme=labelme,
    cvat=cvat,
    roboflow=roboflow,
    coco=coco,
)


def written(shots, root, name, **options):
    """An export in a new folder."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    EXPORTS[name](shots, root, **options)
    return root

"""Is a file of COCO annotations whole?

MMDetection meets a missing key in the middle of an epoch, and an id that
stands twice never: one of the two entries is then lost.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..common.errors import UserError, some
from .annotation_files import how_to_mend
from .box_checks import check_boxes
from .fields import FIELDS, is_key, refers, values_of

__all__ = [
    'Fault',
    'Kind',
    'annotation_faults',
    'check_annotations',
    'check_is_coco',
    'kinds_of',
    'refuse',
    'text_of',
    'unquoted',
]


class Fault(NamedTuple):
    """What is wrong with an entry.

    Attributes:
        kind: In the plural: 'boxes that ...'.
        key: The entry's id.
        mendable: ``check_data.py --mend`` mends it.
        note: What else is to say of this kind.
        entry: It itself, unless it can be used nevertheless.
    """

    kind: str
    key: Any
    mendable: bool = False
    note: str = ''
    entry: Mapping[str, Any] | None = None


_OPTIONAL = ('ignore',)
_COMPUTED = ('id', 'area', 'iscrowd')  # of annotations, by check_data.py


def unquoted(value: Any) -> Any:
    """A number that is written as a string, as a number; also in a list."""
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value


def text_of(key: Any) -> str:
    """An id as text, by which '1', 1 and 1.0 are one."""
    whole = isinstance(key, float) and key.is_integer()
    return str(int(key) if whole else key)


def check_annotations(
    content: Any, ann_file: str | os.PathLike, test_mode: bool = False
) -> None:
    """Checks keys, types, ids and boxes; warns of boxes that count for nothing.

    Args:
        content: What the annotation file holds.
        ann_file: Its path, for the messages.
        test_mode: The file is evaluated on: 'iscrowd' is needed too, and a
            file without any 'annotations' is meant for submission.

    Raises:
        UserError: The message counts each kind of fault and names entries.
    """
    check_is_coco(content, ann_file, test_mode)
    refuse(ann_file, annotation_faults(content, test_mode))
    check_boxes(content, ann_file, test_mode)


def check_is_coco(
    content: Any, ann_file: str | os.PathLike, test_mode: bool = False
) -> None:
    """Whether there are three lists of dicts, whatever these hold.

    Args:
        content: As for ``check_annotations``, likewise the others.
        ann_file: Likewise.
        test_mode: Likewise.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(content, Mapping):
        found = isinstance(content, list) and content and content[0]
        raise UserError(
            f'{ann_file} is no COCO annotation file: it holds a '
            f'{type(content).__name__}, expected a dict with {", ".join(FIELDS)}'
            + (
                '. It looks like detections: are two arguments swapped?'
                if isinstance(found, Mapping) and 'score' in found
                else ''
            )
        )
    for part in FIELDS:
        if test_mode and part == 'annotations' and part not in content:
            continue
        entries = content.get(part)
        if not isinstance(entries, list) or not all(
            issubclass(kind, Mapping) for kind in {*map(type, entries)}
        ):
            raise UserError(
                f'{ann_file} is no COCO annotation file: expected "{part}", a '
                f'list of dicts with {", ".join(_wanted(part, test_mode))}'
            )


def _wanted(part: str, test_mode: bool) -> list[str]:
    spared = _OPTIONAL if test_mode else (*_OPTIONAL, 'iscrowd')
    return [field for field in FIELDS[part] if field not in spared]


def annotation_faults(
    content: Mapping[str, Any], test_mode: bool = False
) -> Iterator[Fault]:
    """All that is wrong with keys, types and ids, the same entry's too.

    Args:
        content: Three lists of dicts, see ``check_is_coco``.
        test_mode: As for ``check_annotations``.
    """
    ids: dict[str, set] = {}
    for part, fields in FIELDS.items():
        entries = content.get(part, [])
        columns = {field: values_of(entries, field) for field in fields}
        for field in _wanted(part, test_mode):
            if columns[field] is None:
                yield from _lacking(part, field, entries)
        for field, (fits, wrong, all_fit) in fields.items():
            values = columns[field]
            if values is None or not all_fit(values):
                for entry in entries:
                    if field in entry and not fits(entry[field]):
                        yield _wrong_type(part, field, wrong, entry, fits)
        keys = columns['id']
        if keys is None or not fields['id'].all_fit(keys):
            keys = [e['id'] for e in entries if is_key(e.get('id'))]
        ids[part] = set(keys)
        if len(ids[part]) < len(keys):
            for key, count in Counter(keys).items():
                if count > 1:
                    yield Fault(
                        f'ids used by several {part}', key, part == 'annotations'
                    )
    entries = content.get('annotations', [])
    for key, part in (('image_id', 'images'), ('category_id', 'categories')):
        if refers(entries, key, ids[part]):
            continue
        lost = [
            entry
            for entry in entries
            if key in entry and is_key(entry[key]) and entry[key] not in ids[part]
        ]
        texts = {text_of(known): known for known in ids[part]} if lost else {}
        for entry in lost:
            yield _lost(entry, key, part, texts)


def _lacking(part: str, field: str, entries: Iterable[Mapping]) -> Iterator[Fault]:
    mendable = part == 'annotations' and field in _COMPUTED
    for place, entry in enumerate(entries):
        if field not in entry:
            key = entry.get('id', f'number {place}')
            yield Fault(f'{part} without "{field}"', key, mendable, entry=entry)


def _wrong_type(
    part: str, field: str, wrong: str, entry: Mapping, is_right: Callable[[Any], bool]
) -> Fault:
    quoted = field != 'file_name' and is_right(unquoted(entry[field]))
    note = f'numbers are in quotes, as in {entry[field]!r}' if quoted else ''
    kind = f'{part} whose {field} is {wrong}'
    return Fault(kind, entry.get('id'), quoted, note, entry)


def _lost(entry: Mapping, key: str, part: str, texts: Mapping[str, Any]) -> Fault:
    """An annotation of an image or a category that is not there."""
    value = entry[key]
    kind = f'annotations whose {key} is none of the {part}'
    other = texts.get(text_of(value))
    if other is None:
        return Fault(kind, entry.get('id'), entry=entry)
    names = ('a string', 'a number')
    one, two = names if isinstance(value, str) else names[::-1]
    return Fault(
        kind,
        entry.get('id'),
        mendable=True,
        note=f'{key} is {one} and the id {two}: {value!r} and {other!r}',
        entry=entry,
    )


class Kind(NamedTuple):
    """All faults of one kind.

    Attributes:
        text: In the plural.
        keys: Ids of the entries.
        mendable: All are.
        droppable: Or else ``--drop`` leaves the entries out.
        note: The first one's.
    """

    text: str
    keys: list[str]
    mendable: bool
    droppable: bool
    note: str

    def __str__(self) -> str:
        note = f': {self.note}' if self.note else ''
        return f'{len(self.keys)} {self.text} (id {some(self.keys)}){note}'


def kinds_of(faults: Iterable[Fault]) -> list[Kind]:
    """The faults counted by kind, in the order in which the kinds came."""
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    return [
        Kind(
            kind,
            [str(fault.key) for fault in same],
            all(fault.mendable for fault in same),
            all(fault.mendable or fault.entry is not None for fault in same),
            next((fault.note for fault in same if fault.note), ''),
        )
        for kind, same in by_kind.items()
    ]


def refuse(
    ann_file: str | os.PathLike, faults: Iterable[Fault], remedy: str = 'Mend the file'
) -> None:
    """Raises if there is any fault.

    Args:
        ann_file: Its path, for the message.
        faults: What was found.
        remedy: What to do where ``check_data.py --mend`` does not help.

    Raises:
        UserError: Each kind of fault is counted, and some ids named.
    """
    kinds = kinds_of(faults)
    if kinds:
        mendable = [kind.mendable for kind in kinds]
        if any(mendable):
            by_hand = '' if all(mendable) else ' (not all of it: the rest by hand)'
            remedy = how_to_mend(ann_file) + by_hand
        raise UserError(f'{ann_file} has {"; ".join(map(str, kinds))}. {remedy}')

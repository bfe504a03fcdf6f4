"""What was found, as text for a terminal."""

import textwrap

from ..proposal import shown
from .annotations import dropped
from .check import Checked
from .findings import Level

__all__ = ['as_text', 'verdict', 'what_mending_does']

WIDTH = 88


def as_text(checked: Checked) -> str:
    """All findings, the errors first, and what MMDetection will leave out."""
    lines = []
    for read in checked.reads:
        content = read.content
        images = f'{len(content["images"])} images'
        if read.split.folder is None:
            images += ' (not looked at)'
        lines.append(
            f'{read.split.name}: {read.split.ann_file}, {images}, '
            f'{len(content["annotations"])} boxes, {len(read.classes)} classes'
        )
    for finding in checked.findings:
        text = f'{finding.level.value}  {finding.where}: {finding.text}'
        lines += ['', *_wrapped(text)]
        if finding.remedy:
            lines += _wrapped(f'-> {finding.remedy}', '    ')
    for read in checked.reads:
        counts = {} if read.split.test_mode else dropped(read)
        if counts:
            lines += [
                '',
                f'MMDetection will leave out of training ({read.split.name}):',
            ]
            lines += [f'  {count:>7} {reason}' for reason, count in counts.items()]
        changes = what_mending_does(checked).get(read.split.name)
        if changes:
            lines += ['', f'--mend would change ({read.split.name}):']
            lines += [f'  {change}' for change in changes]
    if checked.proposal:
        lines += ['', 'A proposal for training; you decide:']
        for name, value in zip(checked.proposal._fields, checked.proposal[:-1]):
            lines += _wrapped(f'{name} = {shown(value)}', '  ')
            lines += _wrapped(f'{checked.proposal.reasons[name]}.', '      ')
    return '\n'.join([*lines, '', verdict(checked)])


def _wrapped(text: str, indent: str = '') -> list[str]:
    return [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(
            part,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=f'{indent}  ',
            break_on_hyphens=False,
            break_long_words=False,
        )
    ]


def what_mending_does(checked: Checked) -> dict[str, list[str]]:
    """Name of a split -> the changes of ``--mend``, each with its count."""
    return {read.split.name: read.changes for read in checked.reads}


def verdict(checked: Checked) -> str:
    """One line."""
    errors = len(checked.of(Level.ERROR))
    warnings = len(checked.of(Level.WARNING))
    if errors:
        leaks = sum('LEAK' in f.text for f in checked.of(Level.ERROR))
        also = ', with a LEAK between the splits,' if leaks else ''
        return (
            f'{_counted(errors, "error")}{also} and {_counted(warnings, "warning")}: '
            'mend the errors before you train.'
        )
    return f'No error, {_counted(warnings, "warning")}: training takes these data.'


def _counted(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'

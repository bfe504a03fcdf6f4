"""Text of others in Markdown: a name must not end a cell or open a tag."""

import re

__all__ = ['as_code', 'as_code_block', 'as_text']

# What begins markup in GitHub's Markdown, within a line.
_MARKUP = re.compile(r'([\\`*{}\[\]<>&|~$#]|(?<![^\W_])_|_(?![^\W_]))')


def as_text(text: object) -> str:
    """A text that is shown as it is, in one line, in a table or a heading."""
    return _MARKUP.sub(r'\\\1', ' '.join(str(text).split()))


def as_code(text: object) -> str:
    """A text as code within a line, also in a table."""
    line = ' '.join(str(text).split())
    fence = _fence(line, 1)
    space = ' ' if line.startswith('`') or line.endswith('`') else ''
    # In tables, a bar ends the cell even in code unless it is escaped.
    return f'{fence}{space}{line}{space}{fence}'.replace('|', '\\|')


def as_code_block(text: str) -> list[str]:
    """Lines of a block that holds a text as it is."""
    fence = _fence(text, 3)
    return [fence, text, fence]


def _fence(text: str, least: int) -> str:
    longest = max(map(len, re.findall('`+', text)), default=0)
    return '`' * max(least, longest + 1)

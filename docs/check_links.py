"""Checks the built site without a network: links, anchors, foreign parts.

    python docs/check_links.py docs/_build/html

Every link within the site must lead to a file and, after '#', to an element
of it; scripts, styles, fonts and pictures must lie in the site itself.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, loads and can be jumped to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {'', 'top'}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or '' for name, value in attrs}
        self.anchors |= {found[key] for key in ('id', 'name') if key in found}
        if tag == 'a' and 'href' in found:
            self.links.append(found['href'])
        elif tag == 'link' and 'href' in found:
            self.loaded.append(found['href'])
        elif tag in ('script', 'img', 'iframe', 'object') and found.get('src'):
            self.loaded.append(found['src'])


def faults(site: Path) -> list[str]:
    """What is wrong, a line each."""
    pages = {
        path: Page(path.read_text())
        for path in site.rglob('*.html')
        if '_static' not in path.parts
    }
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        for link in {*page.links, *page.loaded}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != 'data':
                    found.append(f'{where}: loads {link} from the network')
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            target = target.resolve()
            if target.is_dir():
                target /= 'index.html'
            if not target.exists():
                found.append(f'{where}: {link} leads nowhere')
            elif target in pages and unquote(parts.fragment) not in (
                pages[target].anchors
            ):
                found.append(f'{where}: {link} has no such anchor')
    for path in site.rglob('*.css'):
        for link in re.findall(
            r'(?:url\(|@import)\s*["\']?(https?:[^"\')]+)', path.read_text()
        ):
            found.append(f'{path.relative_to(site)}: loads {link} from the network')
    return sorted(found)


def main() -> None:
    """Exit status 1 if anything is wrong, or if there is no site."""
    site = Path(sys.argv[1]).resolve()
    if not (site / 'index.html').is_file():
        sys.exit(f'{site} holds no site; make docs builds it')
    found = faults(site)
    print(*found, sep='\n', end='\n' if found else '')
    sys.exit(int(bool(found)))


if __name__ == '__main__':
    main()

"""Downloading COCO, from a server on this machine and in small."""

import errno
import fcntl
import hashlib
import io
import os
import runpy
import sys
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from tresnet_det.data import archives, coco_download
from tresnet_det.data.coco_download import ARCHIVES, Archive, download_coco

ROOT = Path(__file__).parents[2]
URLS = {'annotations': 'annotations/ann.zip', 'val2017': 'zips/val2017.zip'}


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def folder_of(name, count=4):
    """A folder's entry and its files, of noise that does not compress."""
    return {
        f'{name}/': b'',
        **{f'{name}/{i}.jpg': bytes(os.urandom(3000)) for i in range(count)},
    }


def described(url, content, files=4):
    return Archive(
        url,
        len(content),
        hashlib.md5(content).hexdigest(),
        files,
        unpacked=files * 3000,
    )


class Handler(BaseHTTPRequestHandler):
    """Serves what `server.contents` holds, as faulty as it is told."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers['Range']))
        content = server.contents.get(self.path.lstrip('/'))
        if content is None:
            return self.send_error(404)
        start = 0
        if server.ranges and self.headers['Range']:
            start = int(self.headers['Range'][len('bytes=') : -1])
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        stop = server.stops.pop(0) if server.stops else None
        self.wfile.write(content[start:stop])  # then the connection closes

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    server.asked, server.stops, server.ranges = [], [], True
    server.contents = {url: zipped(folder_of(name)) for name, url in URLS.items()}
    server.address = f'http://127.0.0.1:{server.server_port}/'
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(coco_download, 'CHUNK', 1000)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Calls download_coco on the contents as they are now, or as they were
    when they were described."""

    def fetch(*names, archives=None, root=tmp_path / 'coco', **options):
        archives = archives or {
            name: described(url, server.contents[url]) for name, url in URLS.items()
        }
        download_coco(
            root, names or tuple(archives), server.address, archives=archives, **options
        )
        return root

    return fetch


def names_below(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())


def test_layout_and_content(fetch, server):
    root = fetch()
    assert sorted(p.name for p in root.iterdir()) == ['annotations', 'val2017']
    with zipfile.ZipFile(io.BytesIO(server.contents['zips/val2017.zip'])) as expected:
        for i in range(4):
            name = f'val2017/{i}.jpg'
            assert (root / name).read_bytes() == expected.read(name)


def test_second_call_does_nothing_twice(fetch, server):
    before = {p: p.stat().st_mtime_ns for p in fetch().rglob('*.jpg')}
    asked = len(server.asked)
    (fetch() / 'annotations' / 'multilabel.json').touch()  # the user's own
    root = fetch()
    assert len(server.asked) == asked == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(names_below(root)) == 9


def test_parts_and_archives_are_kept_if_asked(fetch):
    root = fetch('val2017', keep_archives=True)
    assert sorted(p.name for p in root.iterdir()) == ['val2017', 'val2017.zip']


def test_progress(fetch):
    told = []
    fetch('val2017', tell=lambda *state: told.append(state))
    stages = list(dict.fromkeys(what for what, _, _ in told))
    assert stages == [
        'downloading val2017.zip',
        'checking val2017.zip.part',
        'unpacking val2017.zip',
    ]
    for stage in stages:
        steps = [(done, total) for what, done, total in told if what == stage]
        assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
        assert len(steps) >= 4


def test_lost_connections_go_on_where_they_were(fetch, server):
    server.stops = [5000, 5001, 9000]
    fetch('val2017')
    assert [r for _, r in server.asked] == [
        None,
        'bytes=5000-',
        'bytes=5001-',
        'bytes=9000-',
    ]


def test_next_call_goes_on(fetch, server, tmp_path):
    """The server sends a part, then nothing at all."""
    server.stops = [7000, 7000]
    with pytest.raises(OSError, match='after 7000 of .* call again'):
        fetch('val2017')
    assert names_below(tmp_path / 'coco') == ['val2017.zip.part']
    fetch('val2017')
    assert server.asked[-1][1] == 'bytes=7000-'


def test_server_that_dies(server, tmp_path, fetch):
    archives = {'val2017': described(URLS['val2017'], server.contents[URLS['val2017']])}
    server.stops = [6000]

    def die(what, done, total):
        if done == 6000:
            server.shutdown()
            server.server_close()

    with pytest.raises(OSError, match='refused.*after 6000 of') as error:
        fetch(archives=archives, tell=die)
    assert 'put val2017.zip into' in str(error.value)
    part = tmp_path / 'coco' / 'val2017.zip.part'
    assert part.stat().st_size == 6000


def test_server_without_ranges(fetch, server):
    server.ranges = False
    server.stops = [2000, 8000]
    root = fetch('val2017')
    assert len(names_below(root)) == 4 and len(server.asked) == 3


def test_server_without_ranges_that_always_stops(fetch, server):
    server.ranges = False
    server.stops = [8000, 8000]
    with pytest.raises(OSError, match='after 8000 of'):
        fetch('val2017')


def test_no_such_file(fetch, server):
    archives = {'val2017': described('gone.zip', b'x')}
    with pytest.raises(OSError, match=r'gone.zip.*HTTP Error 404'):
        fetch(archives=archives)


def test_another_file_is_told_at_once(fetch, server, tmp_path):
    archives = {'val2017': described(URLS['val2017'], b'x' * 99)}
    with pytest.raises(ValueError, match='expected are 99: it is another'):
        fetch(archives=archives)
    assert not names_below(tmp_path / 'coco')


def test_wrong_sum(fetch, server, tmp_path):
    url = URLS['val2017']
    archives = {'val2017': described(url, server.contents[url])}
    right = server.contents[url]
    server.contents[url] = right[:-1] + b'?'
    with pytest.raises(ValueError, match='damaged: its md5 .*call again'):
        fetch(archives=archives)
    assert not names_below(tmp_path / 'coco')
    server.contents[url] = right
    fetch(archives=archives)


def test_archive_of_other_means_is_taken(fetch, server, tmp_path):
    content = server.contents[URLS['val2017']]
    (tmp_path / 'coco').mkdir()
    (tmp_path / 'coco' / 'val2017.zip').write_bytes(content)
    fetch('val2017')
    assert not server.asked


@pytest.mark.parametrize(
    'cut, message',
    [(slice(100, None), 'bytes, expected are'), (slice(-1, None), 'damaged')],
)
def test_archive_of_other_means_is_checked(fetch, server, tmp_path, cut, message):
    content = bytearray(server.contents[URLS['val2017']])
    content[cut] = b'' if cut.start == 100 else b'?'
    (tmp_path / 'coco').mkdir()
    file = tmp_path / 'coco' / 'val2017.zip'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f'{message}.*call again'):
        fetch('val2017')
    assert file.exists()  # it is not ours


# Archives whose sum is right and whose content is not


def served(server, content, files=4):
    server.contents[URLS['val2017']] = content
    return {'val2017': described(URLS['val2017'], content, files)}


@pytest.mark.parametrize(
    'evil',
    [
        '../evil.jpg',
        'val2017/../../evil.jpg',
        '/etc/evil.jpg',
        'evil.jpg',
        'val2017/sub/evil.jpg',
        'train2017/evil.jpg',
    ],
)
def test_names_outside_the_folder_are_refused(fetch, server, tmp_path, evil):
    content = zipped({**folder_of('val2017', 3), evil: b'x'})
    with pytest.raises(
        ValueError, match='members that leave the folder|expected are files in val2017'
    ):
        fetch(archives=served(server, content))
    assert names_below(tmp_path) == ['coco/val2017.zip']


def test_wrong_count(fetch, server, tmp_path):
    content = zipped(folder_of('val2017', 3))
    with pytest.raises(ValueError, match='holds 3 files, expected are 4'):
        fetch(archives=served(server, content))
    assert names_below(tmp_path) == ['coco/val2017.zip']


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize('damage', [truncated, flipped])
def test_damaged_archive(fetch, server, tmp_path, damage):
    content = damage(zipped(folder_of('val2017')))
    with pytest.raises(ValueError, match='is no whole archive'):
        fetch(archives=served(server, content))
    assert names_below(tmp_path) == ['coco/val2017.zip']


# What lies there, and the disk


def test_leftovers_of_a_killed_run(fetch, tmp_path):
    part = tmp_path / 'coco' / 'val2017.part'
    part.mkdir(parents=True)
    (part / 'half.jpg').touch()
    assert len(names_below(fetch('val2017'))) == 4


def test_folder_that_is_not_whole(fetch, tmp_path):
    folder = tmp_path / 'coco' / 'val2017'
    folder.mkdir(parents=True)
    (folder / '0.jpg').touch()
    with pytest.raises(ValueError, match='has 1 files, expected are 4; move'):
        fetch()


def test_small_disk_is_told_first(fetch, server, monkeypatch):
    archives = {
        name: described(url, server.contents[url]) for name, url in URLS.items()
    }
    needed = sum(a.unpacked for a in archives.values()) + max(
        a.size for a in archives.values()
    )

    def free(by):
        monkeypatch.setattr(
            coco_download.shutil,
            'disk_usage',
            lambda path: SimpleNamespace(free=needed + by),
        )

    free(-1)
    with pytest.raises(OSError, match='GB free, but .* GB are needed'):
        fetch()
    free(0)
    with pytest.raises(OSError, match='GB are needed'):
        fetch(keep_archives=True)
    assert not server.asked
    fetch()


@pytest.fixture
def full_disk(monkeypatch):
    """Lets files of one ending grow to 1500 bytes only."""

    @contextmanager
    def full_disk(ending):
        class Full(io.FileIO):
            def write(self, chunk):
                if self.tell() + len(chunk) > 1500:
                    raise OSError(errno.ENOSPC, 'No space left on device')
                return super().write(chunk)

        with monkeypatch.context() as patch:
            for module in (coco_download, archives):
                patch.setattr(
                    module,
                    'open',
                    lambda path, mode: (
                        Full if str(path).endswith(ending) and mode != 'rb' else open
                    )(path, mode),
                    raising=False,
                )
            yield

    return full_disk


def test_disk_that_fills_up(fetch, server, full_disk, tmp_path):
    with (
        full_disk('.part'),
        pytest.raises(OSError, match='No space left .*after 1000 of .* go on'),
    ):
        fetch('val2017')
    with (
        full_disk('.jpg'),
        pytest.raises(OSError, match='val2017.zip could not be unpacked.*No space'),
    ):
        fetch('val2017')
    assert names_below(tmp_path) == ['coco/val2017.zip']
    fetch('val2017')
    assert [r for _, r in server.asked[1:]] == ['bytes=1000-'] * 2


def test_two_at_once(fetch, tmp_path):
    root = tmp_path / 'coco'
    root.mkdir()
    folder = os.open(root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(OSError, match='another download is at work'):
        fetch()
    os.close(folder)
    fetch()


def test_unknown_part(fetch):
    with pytest.raises(KeyError, match='expected are some of'):
        fetch('test2017')


def test_tool(server, tmp_path, monkeypatch, capsys):
    for name, url in URLS.items():
        monkeypatch.setitem(ARCHIVES, name, described(url, server.contents[url]))

    def run(*arguments):
        monkeypatch.setattr(
            sys,
            'argv',
            [
                '',
                str(tmp_path / 'coco'),
                '--base-url',
                server.address,
                '--split',
                *arguments,
            ],
        )
        runpy.run_path(
            str(ROOT / 'tools' / 'misc' / 'download_coco.py'), run_name='__main__'
        )
        return capsys.readouterr().out

    assert f'{tmp_path / "coco" / "val2017"}: whole' in run('val2017')
    run('val2017', 'annotations')
    assert [path for path, _ in server.asked] == [
        '/zips/val2017.zip',
        '/annotations/ann.zip',
    ]
    server.contents.clear()
    monkeypatch.setitem(ARCHIVES, 'train2017', described('t.zip', b'x'))
    with pytest.raises(SystemExit, match='error: .*404'):
        run('train2017')


def test_the_official_archives():
    """Counts and sizes fit together: an image of COCO has about 163 kB."""
    assert ARCHIVES['train2017'].files == 118287
    assert ARCHIVES['val2017'].files == 5000
    for name in ('train2017', 'val2017'):
        archive = ARCHIVES[name]
        assert 160e3 < archive.size / archive.files < 165e3
        assert archive.unpacked > archive.size
    assert len({archive.md5 for archive in ARCHIVES.values()}) == 3

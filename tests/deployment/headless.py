"""A headless Chromium, driven by WebDriver (W3C) through chromedriver."""

import base64
import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

PROGRAMS = ('chromium', 'chromedriver')
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
)
ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'  # the standard's name of it


class Browser:
    """One window."""

    def __init__(self, port, profile, width, height, phone):
        self._base = f'http://127.0.0.1:{port}'
        options = dict(
            binary=shutil.which('chromium'),
            args=[
                *FLAGS,
                f'--user-data-dir={profile}',
                f'--window-size={width},{height}',
            ],
        )
        if phone:
            options['mobileEmulation'] = dict(
                deviceMetrics=dict(width=width, height=height, pixelRatio=2.0)
            )
        capabilities = {
            'browserName': 'chrome',
            'goog:chromeOptions': options,
            'goog:loggingPrefs': dict(browser='ALL', performance='ALL'),
        }
        answer = self._call(
            'POST', '/session', capabilities=dict(alwaysMatch=capabilities)
        )
        self._base += f'/session/{answer["sessionId"]}'

    def _call(self, method, path, **body):
        data = json.dumps(body).encode() if method == 'POST' else None
        request = Request(
            self._base + path,
            data,
            {'Content-Type': 'application/json'},
            method=method,
        )
        try:
            with urlopen(request, timeout=300) as answer:
                return json.load(answer)['value']
        except HTTPError as error:
            raise RuntimeError(error.read().decode()[:2000]) from error

    def open(self, url):
        self._call('POST', '/url', url=url)

    def run(self, script, *arguments):
        """Value of the body of a function."""
        return self._call('POST', '/execute/sync', script=script, args=list(arguments))

    def wait(self, condition, seconds=120):
        """Until a JavaScript expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(f'return {condition}')):
            if time.monotonic() > end:
                raise TimeoutError(f'{condition}: {self.text("body")}')
            time.sleep(0.05)
        return value

    def find(self, selector):
        return self._call('POST', '/element', using='css selector', value=selector)[
            ELEMENT
        ]

    def text(self, selector):
        return self._call('GET', f'/element/{self.find(selector)}/text')

    def type(self, selector, text):
        """Keys to an element; to a file input the path of a file."""
        self._call('POST', f'/element/{self.find(selector)}/value', text=text)

    def shot(self, path):
        with open(path, 'wb') as file:
            file.write(base64.b64decode(self._call('GET', '/screenshot')))

    def log(self, kind='browser'):
        return self._call('POST', '/se/log', type=kind)

    def close(self):
        self._call('DELETE', '')


@contextmanager
def browser(folder, width=1280, height=900, phone=False):
    """A window with a profile of its own in ``folder``."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [shutil.which('chromedriver'), f'--port={port}'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                urlopen(f'http://127.0.0.1:{port}/status').close()
                break
            except URLError:
                time.sleep(0.05)
        window = Browser(port, folder / f'profile-{width}', width, height, phone)
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait()

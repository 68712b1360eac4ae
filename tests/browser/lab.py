"""A real JupyterLab and a real Chromium, for tests and for looking at a widget.

In a test (fixtures `lab`, `page` and `notebook` of conftest.py)::

    def test_it_says_hello(notebook):
        output = notebook.run("from IPython.display import HTML; HTML('<b>hello</b>')")
        assert output.locator("b").inner_text() == "hello"
        notebook.theme("dark")
        notebook.screenshot("hello-dark", output)

The test fails by itself on any console error, page error or request to another host; `notebook.watch.allow(pattern)`
names what a test provokes. To look at something: `python -m tests.browser.shot cells.py out.png --dark --width 380`.
Pictures go to the folder DARKIT_SCREENSHOTS, or to a temporary one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Playwright, Request, WebError, WebSocket

MARK = "DARKIT_TEST_LAB"
# What JupyterLab and anywidget say by themselves now and then, with or without any extension; everything else is ours.
LABS_OWN = (
    # A kernel restarts, or its notebook is closed, while JupyterLab waits for an answer to a question of its own. What
    # cells and widgets ask is not among them.
    r"Canceled future for (kernel_info|comm_info|create_subshell|delete_subshell|debug|complete|inspect)_request",
    "Could not restore the debugger state: Canceled future",
    # A machine that stands still for half a minute misses the server's ping, and the page connects anew.
    r"console error: Connection lost, reconnecting in \d+ seconds",
    # anywidget gives up a widget whose script is not there after two seconds; ours hear again (src/ui/awake.ts).
    r"\[anywidget\] Failed to initialize model",
)
NO_NEWS = {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True}


def chromium() -> str | None:
    """Path of a Chromium that is installed here."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def screenshots() -> Path:
    """Folder of pictures."""
    folder = Path(os.environ.get("DARKIT_SCREENSHOTS") or Path(tempfile.gettempdir()) / "darkit-screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Lab:
    """One JupyterLab server with settings of its own.

    Args:
        home: Empty folder for its settings, workspaces and log; `home/root` is what it shows.
        environment: Variables that the server and its kernels get besides the present ones.
        arguments: Further arguments for `jupyter lab`.
    """

    def __init__(self, home: Path, environment: dict[str, str] | None = None, arguments: tuple[str, ...] = ()) -> None:
        self.home = home
        self.root = home / "root"
        self.log = home / "server.log"
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.arguments = arguments
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        own = {name: str(home / folder) for name, folder in folders.items()}
        self.environment = {**os.environ, **own, MARK: self._mark, **(environment or {})}
        self.root.mkdir(parents=True, exist_ok=True)
        self.setting("@jupyterlab/apputils-extension", "notification", NO_NEWS)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def setting(self, package: str, plugin: str, values: dict[str, object]) -> None:
        """Write a user's settings of one JupyterLab plug-in; to be called before the page is loaded."""
        file = self.home / "settings" / package / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def start(self, timeout_s: float = 240.0) -> None:
        """Start the server, on the same port every time, and wait until it answers."""
        settings = {
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.root,
            "ServerApp.terminals_enabled": False,
            "IdentityProvider.token": self.token,
            "LabApp.expose_app_in_browser": True,
            "LabApp.extension_manager": "readonly",
            "LabApp.news_url": "",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.arguments],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the server and its kernels, as Ctrl-C does; runs that a kernel started go on."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
        self._process = None

    def close(self) -> None:
        """Stop the server and end whatever it started, detached runs included."""
        self.stop()
        for process in self.processes():
            with _gone_is_fine():
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Every living process that descends from this server, by a variable it inherited."""
        found = []
        for process in psutil.process_iter():
            with _gone_is_fine():
                if process.pid != os.getpid() and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def api(self, path: str, method: str = "GET") -> object:
        """Answer of the server's own REST interface, parsed; None where it has no body."""
        request = urllib.request.Request(f"{self.origin}/api/{path}", method=method)  # noqa: S310 # our own http server
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            body = answer.read()
        return json.loads(body) if body else None

    def shut_down_kernels(self) -> None:
        """End all sessions, so that one test's kernels cost the next one nothing."""
        sessions = self.api("sessions")
        assert isinstance(sessions, list)
        for session in sessions:
            self.api(f"sessions/{session['id']}", "DELETE")

    def _answers(self) -> bool:
        try:
            return self.api("status") is not None
        except (urllib.error.URLError, OSError):
            return False


class Watch:
    """Collects what a page must not do: console errors, uncaught errors, requests to other hosts.

    Attributes:
        problems: What was seen so far.
        hosts: Every host that was asked for something.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.hosts: set[str] = set()
        self.seen: list[str] = []
        self._own = urlsplit(origin).netloc
        self._allowed = [re.compile(pattern) for pattern in LABS_OWN]
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("page", lambda page: page.on("websocket", self._socket))

    def allow(self, pattern: str) -> None:
        """Expect problems that match, because this test provokes them."""
        self._allowed.append(re.compile(pattern, re.DOTALL))

    @property
    def problems(self) -> list[str]:
        """What was seen and not expected."""
        return [text for text in self.seen if not any(pattern.search(text) for pattern in self._allowed)]

    def _address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("data", "blob", "about"):
            return
        self.hosts.add(parts.netloc)
        if parts.netloc != self._own:
            self.seen.append(f"request to another host: {url}")

    def _request(self, request: Request) -> None:
        self._address(request.url)

    def _socket(self, socket: WebSocket) -> None:
        self._address(socket.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.seen.append(f"console error: {message.text} ({message.location.get('url', '')})")

    def _error(self, error: WebError) -> None:
        self.seen.append(f"page error: {error.error}")


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium, headless."""
    flags = ["--disable-dev-shm-usage", "--force-color-profile=srgb"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=chromium(), args=flags)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _gone_is_fine() -> suppress:
    """Processes end while one looks at them, and those of others do not show their environment."""
    return suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)

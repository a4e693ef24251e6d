"""The page: talk to characters, and see what speaks, what was trained and how the data was read.

    python gradio_app.py --data data/sample_series --source quotes     # needs no model
    python gradio_app.py                                               # the latest version of the registry

Everything it needs is on this machine: no request leaves for anywhere else. Another address than the loopback is
served only with a password: APP_PASSWORD in .env or the environment.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import FAMILIES, RUNGS, Settings, SuiteError
from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command
from utils.errors import UsageError

PROGRESS_SECONDS = 0.5

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from character_chatbot.served import ServedFile
    from character_chatbot.service import Service
    from utils.registry import Registry


def main(arguments: Sequence[str]) -> int:
    """Serve the page until it is interrupted."""
    options = build_parser().parse_args(arguments)
    if options.version and options.source != RUNGS[0]:
        raise UsageError(f"--version {options.version} goes with --source version, not {options.source}.")
    flags = {
        "paths.data": options.data,
        "paths.registry": options.registry,
        "app.host": options.host,
        "app.port": options.port,
    }
    settings = build_settings(options, "gradio_app", flags)
    from character_chatbot.machine.machine_memory import share_one_heap

    share_one_heap()
    with told(options.status_file, options.family) as served:
        check_host(settings, options.require_password)
        with bind_port(settings.app.host, settings.app.port) as listener:
            from aws.storage import open_registry
            from character_chatbot.page import build_page
            from character_chatbot.web import build_app
            from dashboard.page import ROUTES, STYLE_SHEETS, lay_out_dashboard

            registry = open_registry(settings)
            changed = served.write if served else lambda service: None
            service = build_service(
                settings, registry, options.family, options.source, options.version, changed=changed
            )
            page = build_page(
                service, registry, options.family, more_tabs=[lambda: lay_out_dashboard(settings, service.refresh_cast)]
            )
            app = build_app(
                page, settings, service, family=options.family, behind_proxy=options.require_password, mcp=options.mcp,
                more_styles=STYLE_SHEETS, more_routes=ROUTES,
            )  # fmt: skip
            service.start()
            threading.Thread(target=show_loading, args=[service], name="progress", daemon=True).start()
            behind_proxy, ending = options.require_password, service.progress.stop
            return serve(app, listener, settings, behind_proxy=behind_proxy, ending=ending)


def build_parser() -> Parser:
    """The flags of this program."""
    parser = Parser(prog="python gradio_app.py", description="Talk to the characters of a series in the browser.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="series folder (default: data)")
    parser.add_argument("--registry", metavar="DIR|s3://…", help="where the versions are (default: runs/registry)")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="default: %(default)s")
    parser.add_argument("--version", metavar="V", help="version of the registry (default: the latest)")
    parser.add_argument("--source", choices=RUNGS, default=RUNGS[0], help="the first to try (default: %(default)s)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1); others need APP_PASSWORD")
    parser.add_argument("--port", type=int, help="default: 7860")
    parser.add_argument(
        "--require-password", action="store_true", help="never serve without APP_PASSWORD, as behind a proxy"
    )
    parser.add_argument("--mcp", action="store_true", help="let agents of this machine talk by MCP, see docs/api.md")
    parser.add_argument("--status-file", type=Path, metavar="FILE", help="keep one JSON line there: what is served")
    add_common_arguments(parser)
    return parser


@contextmanager
def told(file: Path | None, family: str) -> Iterator[ServedFile | None]:
    """What keeps the status file, if there is to be one; an error before the page is up is told in it, too."""
    if file is None:
        yield None
        return
    from character_chatbot.served import ServedFile

    served = ServedFile(file, family)
    served.begin()
    try:
        yield served
    except SuiteError as error:
        served.fail(error)
        raise


def check_host(settings: Settings, require_password: bool = False) -> None:
    """Raises UsageError: others could reach the page, maybe through a proxy, and there is no password."""
    from character_chatbot.web import is_loopback

    host = settings.app.host
    if settings.secrets.app_password or (is_loopback(host) and not require_password):
        return
    if require_password:
        raise UsageError("there is no password.", remedies=[("Set one", "echo APP_PASSWORD=… >> .env")])
    raise UsageError(
        f"{host or 'an empty host'} can be reached from other machines, and there is no password.",
        instead="Anybody who finds the port could use the models of this machine.",
        remedies=[("Set one", "echo APP_PASSWORD=… >> .env"), ("Or stay on this machine", "--host 127.0.0.1")],
    )


def bind_port(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything slow happens. Raises SuiteError: it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise _port_error(host, port, error) from None


def _port_error(host: str, port: int, error: OSError) -> SuiteError:
    if error.errno == errno.EADDRINUSE:
        return SuiteError(f"port {port} of {host} is in use.", remedies=[("Take another", f"--port {port + 1}")])
    if error.errno == errno.EACCES:
        return SuiteError(f"port {port} needs rights of the system.", remedies=[("Take another", "--port 7860")])
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
    return SuiteError(
        f"{host}:{port} cannot be listened on: {reason}.", remedies=[("Use this machine's own", "--host 127.0.0.1")]
    )


def build_service(
    settings: Settings,
    registry: Registry,
    family: str,
    start: str,
    version: str | None,
    *,
    changed: Callable[[Service], None] = lambda service: None,
) -> Service:
    """The service that loads the highest source from ``start`` down; it does not load yet."""
    from character_chatbot.load_progress import LoadProgress
    from character_chatbot.service import Service

    progress = LoadProgress()

    def find(corpus: Any, no_corpus: str, announcements: Any) -> Any:
        from character_chatbot.editing.current_cast import with_current_cast
        from character_chatbot.sources import SourceFinder

        finder = SourceFinder(family, settings, registry, announcements, corpus, no_corpus, progress=progress)
        found = finder.find(start, version)
        now = with_current_cast(found, corpus, settings.paths.data)  # with characters that have no lines yet
        return replace(now.source, cards=now.cards)

    return Service(settings, find, changed, progress)


def show_loading(service: Service) -> None:
    """How far loading is, in a line that moves, until it is over; nothing where the output is no terminal."""
    from utils.terminal import Terminal

    terminal = Terminal()
    while sys.stderr.isatty() and service.loading:
        terminal.move(f"Loading: {service.progress.read().sentence}")
        time.sleep(PROGRESS_SECONDS)
    terminal.clear()


def configure_server(app: Any, *, behind_proxy: bool = False) -> uvicorn.Config:
    """How the page is served.

    Args:
        app: the page.
        behind_proxy: a proxy on this machine tells who asks, in ``X-Forwarded-For``. Without one nobody is believed:
            who could choose an address would never be locked out.
    """
    import uvicorn

    return uvicorn.Config(
        app,
        log_level="critical",
        timeout_graceful_shutdown=1,
        proxy_headers=behind_proxy,
        forwarded_allow_ips=["127.0.0.1", "::1"],
    )


def serve(
    app: FastAPI,
    listener: socket.socket,
    settings: Settings,
    *,
    behind_proxy: bool = False,
    ending: Callable[[], None] = lambda: None,
) -> int:
    """Answer until SIGTERM (then 0) or Ctrl-C (then KeyboardInterrupt); ``ending`` is called once one has come."""
    import uvicorn

    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    asked = f", as {settings.app.user} with the password" if settings.secrets.app_password else ""
    server = uvicorn.Server(configure_server(app, behind_proxy=behind_proxy))
    received: list[int] = []

    def stop(number: int, frame: object) -> None:
        received.append(number)
        server.should_exit = True
        ending()

    # Ours from the first moment: uvicorn takes the signals while it serves and raises them again afterwards, and
    # asyncio's own handler, which comes in between otherwise, can lose a Ctrl-C at the start or at the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"The page is at http://{shown}:{port}{asked}. Ctrl-C ends it.", flush=True)
    try:
        server.run(sockets=[listener])
    finally:
        print("stopped", flush=True)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main))

"""The page as a web application: its password, its headers, and beside it the endpoints for other programs.

/              the page, behind the password if there is one
/health        {"state": …}: 500 where nobody can answer; /healthz: 503 there and while the model is being loaded
/metrics       for Prometheus
/v1/…          OpenAI's API: character_chatbot/api
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.util
import math
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.api.access import Access
from character_chatbot.api.endpoint import Endpoint
from character_chatbot.api.errors import ApiError
from character_chatbot.api.limits import Lockout
from character_chatbot.api.meters import METRICS_TYPE, Meters, build_healthz
from character_chatbot.api.routes import build_router
from character_chatbot.body_limit import BodyLimit
from character_chatbot.host_guard import HostGuard, SiteGuard, is_loopback
from character_chatbot.pages.session_memory import save_memory, sweeping
from config import FAMILIES, Settings
from utils.errors import UsageError

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI, Request, Response

    from character_chatbot.service import Service

LOGIN = "/login"
MCP_PACKAGE = "pip install 'gradio[mcp]==6.31.0'"  # brings an older pydantic along, so it is not required
WRONG_PASSWORD_SECONDS = 1.0  # before the next try
SLACK_BYTES = 2**20  # of a request beside the file in it
# The browser itself refuses whatever would leave for another host.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'self'"
)


def build_app(
    page: gr.Blocks,
    settings: Settings,
    service: Service,
    *,
    family: str = FAMILIES[0],
    behind_proxy: bool = False,
    mcp: bool = False,
    more_styles: Sequence[Path] = (),
    more_routes: Sequence[Callable[[FastAPI], None]] = (),
) -> FastAPI:
    """The page as a web application that asks for the password, if there is one, and loads nothing from elsewhere.

    Args:
        page: the whole of it.
        settings: of the program.
        service: what answers.
        family: of what is served, part of the models' names at the endpoint.
        behind_proxy: others may come through a proxy, so that the endpoint asks for a key even on the loopback.
        mcp: agents may call pages/programs.py by the Model Context Protocol, at /gradio_api/mcp/.
        more_styles: style sheets of further tabs.
        more_routes: add what else the application serves, to everybody.

    Raises:
        UsageError: ``mcp``, and others could come as well, or its package is not installed.
    """
    from fastapi import FastAPI

    lifespan = sweeping(page) if save_memory(service.announcements) else None
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _add_health(app, service)  # all of them before the page, which takes all other addresses
    open_to_all = is_loopback(settings.app.host) and not (behind_proxy or settings.secrets.app_password)
    _add_endpoints(app, service, family, Access(settings.api, open_to_all=open_to_all))
    if mcp:
        check_mcp(open_to_all)
    for add in more_routes:
        add(app)
    _mount(app, page, settings, mcp, more_styles)
    app.add_middleware(BodyLimit, most_bytes=_most_bytes(settings) * 4 // 3 + SLACK_BYTES)  # files come in base64
    app.add_middleware(LoginGuard, lockout=Lockout(settings.api.wrong_tries, settings.api.lockout_seconds))
    app.add_middleware(HostGuard if open_to_all else SiteGuard, hosts=settings.app.hosts)
    app.add_middleware(OwnHostOnly)
    return app


def check_mcp(open_to_all: bool) -> None:
    """Raises UsageError: agents cannot log in, so that they may come from this machine alone; or a package lacks."""
    if not open_to_all:
        raise UsageError(
            "--mcp goes with the loopback and without a password: agents cannot log in.",
            instead="Programs with a key can use /v1 (docs/api.md).",
        )
    if importlib.util.find_spec("mcp") is None:
        raise UsageError("the package mcp is not installed.", remedies=[("Install it", MCP_PACKAGE)])


def _add_health(app: FastAPI, service: Service) -> None:
    """What answers everybody, and tells nothing but whether the page can be used."""

    async def health(request: Request) -> Response:
        return build_health(service)

    async def healthz(request: Request) -> Response:
        return build_healthz(service)

    app.add_route("/health", health, methods=["GET"])
    app.add_route("/healthz", healthz, methods=["GET"])


def _add_endpoints(app: FastAPI, service: Service, family: str, access: Access) -> None:
    """OpenAI's API and the metrics, for those who have a key."""
    meters = Meters(service)

    async def metrics(request: Request) -> Response:
        from fastapi.responses import Response as Plain

        try:
            access.check(request, counted=False)
        except ApiError as error:
            return error.response()
        return Plain(meters.text(), media_type=METRICS_TYPE)

    app.add_route("/metrics", metrics, methods=["GET"])
    app.include_router(build_router(Endpoint(service, family), access, meters))


def _mount(app: FastAPI, page: gr.Blocks, settings: Settings, mcp: bool, more_styles: Sequence[Path]) -> None:
    import gradio as gr

    from character_chatbot.page import STYLE_SHEETS, build_theme

    password = settings.secrets.app_password.reveal()
    page.state_session_capacity = settings.app.tabs_remembered
    page.validate_inputs = _check_inputs  # type: ignore[method-assign]
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        auth=build_check(settings.app.user, password) if password else None,
        theme=build_theme(),
        css_paths=[*STYLE_SHEETS, *more_styles],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=mcp,
        show_error=False,
        max_file_size=_most_bytes(settings),
    )


def _most_bytes(settings: Settings) -> int:
    """Of a file that the page takes."""
    from character_chatbot.chats.fields import LARGEST_FILE_BYTES

    return max(LARGEST_FILE_BYTES, int(max(settings.cards.max_file_mb, settings.dashboard.upload_file_mb) * 1e6))


def _check_inputs(block_fn: Any, inputs: list[Any]) -> None:
    """Raises gradio's error: a request without all values. Gradio's own check puts all of them into the log."""
    import gradio as gr

    if len(inputs) < len(block_fn.inputs):
        raise gr.Error("the page is not the server's: load it again.", print_exception=False)


def build_health(service: Service) -> Response:
    """``{"state": "loading"}``; 500 where nobody can answer, so that what only looks at the status sees it as well."""
    from fastapi.responses import JSONResponse

    state = service.state
    return JSONResponse({"state": state}, 500 if state == "failed" else 200, headers={"cache-control": "no-store"})


class LoginGuard:
    """Lets an address that has guessed wrong too often wait before its next try to log in."""

    def __init__(self, app: Any, lockout: Lockout) -> None:
        self._app, self._lockout = app, lockout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != LOGIN:
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        wait = self._lockout.wait_seconds(address)
        if wait:
            refusal = ApiError(429, f"Too many wrong passwords: try again in {math.ceil(wait)} s.", wait_seconds=wait)
            await refusal.response()(scope, receive, send)
            return

        async def watch(message: Any) -> None:
            if message["type"] == "http.response.start":
                (self._lockout.succeed if message["status"] < 400 else self._lockout.fail)(address)
            await send(message)

        await self._app(scope, receive, watch)


class OwnHostOnly:
    """Tells the browser with each answer to load nothing from another host."""

    HEADERS = (
        (b"content-security-policy", CONTENT_POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    )

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def build_check(user: str, password: str) -> Callable[[str, str], Coroutine[Any, Any, bool]]:
    """What compares a visitor's name and password, in the same time whatever they are; a wrong one has to wait."""
    wanted = f"{user}\0{password}".encode()

    async def check(given_user: str, given_password: str) -> bool:
        given = f"{given_user}\0{given_password}".encode(errors="replace")
        right = hmac.compare_digest(given, wanted)
        if not right:
            await asyncio.sleep(WRONG_PASSWORD_SECONDS)
        return right

    return check

"""The page: talk to characters, and see what speaks, what was trained and how the data was read.

    python gradio_app.py --data data/sample_series --source quotes     # needs no model
    python gradio_app.py                                               # the latest version of the registry

Everything it needs is on this machine: no request leaves for anywhere else. Another address than the loopback is
served only with a password: APP_PASSWORD in .env or the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import hmac
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Settings, SuiteError
from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command
from utils.errors import UsageError

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from character_chatbot.service import Exchange, Reply, Service
    from utils.registry import Registry

FAMILIES = ("llama", "qwen")
SOURCES = ("version", "fine-tuned", "base", "nano", "quotes")
TICK_SECONDS = 0.04  # between two looks at a reply
WRONG_PASSWORD_SECONDS = 1.0  # before the next try
REPLIES_AT_ONCE = 40  # conversations that wait or stream; further ones see their place in the queue
STYLE_SHEET = Path(__file__).with_suffix(".css")
LOADING = "Loading the model…"
# The browser itself refuses whatever would leave for another host.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'self'"
)

View = dict[str, Any]  # name of a part of the page to its new value
Histories = dict[str, "list[Exchange]"]  # a conversation for each character
Handler = Callable[..., AsyncIterator[View]]


def main(arguments: Sequence[str]) -> int:
    """Serve the page until it is interrupted."""
    options = build_parser().parse_args(arguments)
    if options.version and options.source != SOURCES[0]:
        raise UsageError(f"--version {options.version} goes with --source version, not {options.source}.")
    flags = {
        "paths.data": options.data,
        "paths.registry": options.registry,
        "app.host": options.host,
        "app.port": options.port,
    }
    settings = build_settings(options, "gradio_app", flags)
    check_host(settings)
    with bind_port(settings.app.host, settings.app.port) as listener:
        registry = open_registry(settings)
        service = build_service(settings, registry, options.family, options.source, options.version)
        app = build_app(build_page(service, registry, options.family), settings)
        service.start()
        return serve(app, listener, settings)


def build_parser() -> Parser:
    """The flags of this program."""
    parser = Parser(prog="python gradio_app.py", description="Talk to the characters of a series in the browser.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="series folder (default: data)")
    parser.add_argument("--registry", metavar="DIR|s3://…", help="where the versions are (default: runs/registry)")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="default: %(default)s")
    parser.add_argument("--version", metavar="V", help="version of the registry (default: the latest)")
    parser.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="the first to try (default: %(default)s)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1); others need APP_PASSWORD")
    parser.add_argument("--port", type=int, help="default: 7860")
    add_common_arguments(parser)
    return parser


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(settings: Settings) -> None:
    """Raises UsageError: others could reach the page, and there is no password."""
    host = settings.app.host
    if is_loopback(host) or settings.secrets.app_password:
        return
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


def open_registry(settings: Settings) -> Registry:
    """The registry that the settings name; nothing is read yet."""
    from aws.storage import open_store
    from utils.registry import Registry

    return Registry(open_store(settings.paths.registry, settings.aws.region, settings.aws.profile))


def build_service(settings: Settings, registry: Registry, family: str, start: str, version: str | None) -> Service:
    """The service that loads the highest source from ``start`` down; it does not load yet."""
    from character_chatbot.service import Service

    def find(corpus: Any, no_corpus: str, announcements: Any) -> Any:
        from character_chatbot.sources import SourceFinder

        return SourceFinder(family, settings, registry, announcements, corpus, no_corpus).find(start, version)

    return Service(settings, find)


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


class Handlers:
    """What happens on the page. Each is an asynchronous generator of views; closing it stops the engine."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def open(self, character: str | None) -> AsyncIterator[View]:
        """A visitor comes: the characters as soon as they are known, the source as soon as it is loaded."""
        while self.service.loading and not self.service.characters:
            await asyncio.sleep(TICK_SECONDS)
        if self.service.loading:
            yield self._roster(character)
        while self.service.loading:
            await asyncio.sleep(TICK_SECONDS)
        yield self._roster(character)

    async def pick(self, character: str, histories: Histories) -> AsyncIterator[View]:
        """Another character: its own conversation, where it was left."""
        from character_chatbot.service import settle

        settled = {name: settle(history) for name, history in histories.items()}
        yield self._look(character) | self._view(character, settled)

    async def send(self, text: str, speaker: str, character: str | None, histories: Histories) -> AsyncIterator[View]:
        """A message, and its reply as it comes."""
        from character_chatbot.conversation import read_message
        from character_chatbot.service import Exchange, read_name

        history = histories.get(character or "", [])
        try:
            self._check_free(character, history)
            message = " ".join(read_message(text).split())  # one line: another one could look like another speaker
            if self.service.loading:
                yield _notice(LOADING, "hint")
            name = read_name(speaker, str(character), await asyncio.to_thread(lambda: self.service.source))
        except SuiteError as error:
            yield _notice(str(error))
            return
        started = [*history, Exchange(name, message, pending=True)]
        async with contextlib.aclosing(self._speak(str(character), histories, started)) as views:
            async for view in views:
                yield {"box": ""} | view if "notice" in view else view

    async def retry(self, character: str | None, histories: Histories) -> AsyncIterator[View]:
        """Another reply to the last message."""
        from character_chatbot.service import ask_again

        history = histories.get(character or "", [])
        try:
            self._check_free(character, history)
            started = ask_again(history)
        except SuiteError as error:
            yield _notice(str(error))
            return
        async with contextlib.aclosing(self._speak(str(character), histories, started)) as views:
            async for view in views:
                yield view

    async def stop(self, character: str, histories: Histories) -> AsyncIterator[View]:
        """The reply was cancelled: what had come of it stays."""
        from character_chatbot.service import settle

        yield self._view(character, histories | {character: settle(histories.get(character, []))})

    async def undo(self, character: str, histories: Histories) -> AsyncIterator[View]:
        """Take the last exchange back, and put what was said into the box."""
        from character_chatbot.service import take_back

        history, text = take_back(histories.get(character, []))
        yield self._view(character, histories | {character: history}) | {"box": text}

    async def clear(self, character: str, histories: Histories) -> AsyncIterator[View]:
        """Forget the conversation with this character."""
        yield self._view(character, histories | {character: []})

    async def _speak(self, character: str, histories: Histories, history: list[Exchange]) -> AsyncIterator[View]:
        """The views of a reply to the last message of ``history``."""
        *before, last = history
        yield self._view(character, histories | {character: history})
        try:
            reply = self.service.begin_reply(character, history)
        except SuiteError as error:
            last = replace(last, pending=False, notice=str(error))
        else:
            async with contextlib.aclosing(_follow(reply)) as texts:
                async for text in texts:
                    last = replace(last, reply=text)
                    now = histories | {character: [*before, last]}
                    yield {"chat": build_messages(now[character]), "histories": now}
            notice = str(reply.problem) if reply.problem else "" if last.reply else "no words came back"
            quotes = await asyncio.to_thread(self.service.find_quotes, character, history)
            last = replace(last, pending=False, notice=notice, quotes=quotes)
        yield self._view(character, histories | {character: [*before, last]})

    def _check_free(self, character: str | None, history: Sequence[Exchange]) -> None:
        if self.service.problem:
            raise self.service.problem
        if not character:
            raise UsageError("choose a character first.")
        if history and history[-1].pending:
            raise UsageError("a reply is on its way: wait for it, or stop it.")

    def _roster(self, character: str | None) -> View:
        import gradio as gr

        names = self.service.characters
        chosen = character if character in names else next(iter(names), None)
        return {"characters": gr.update(choices=list(names), value=chosen)} | self._look(chosen or "")

    def _look(self, character: str) -> View:
        """Who is spoken to, what speaks, and what is not as it was wanted."""
        from character_chatbot import markup
        from character_chatbot.sources import announce_untrained

        service = self.service
        label, notices = LOADING, ""
        if service.problem:
            label, notices = "nobody", markup.problem_block(str(service.problem))
        elif not service.loading:
            label = service.source.label
            announce_untrained(service.source, character, service.announcements)
            features = ("chat", f"chat with {character}")
            notices = markup.banner(each for each in service.announcements if each.feature in features)
        style = markup.portraits_style(service.characters, character)
        return {"speaking": style + markup.speaking_line(label, character), "banner": notices}

    def _view(self, character: str, histories: Histories) -> View:
        """The conversation, and which buttons make sense now."""
        import gradio as gr

        from character_chatbot.markup import quotes_block

        history = histories.get(character, [])
        busy = bool(history) and history[-1].pending
        usable = {"send": not busy, "stop": busy} | dict.fromkeys(("retry", "undo", "clear"), bool(history) and not busy)
        return {name: gr.update(interactive=on) for name, on in usable.items()} | {
            "histories": histories,
            "chat": build_messages(history),
            "evidence": quotes_block(history[-1].quotes if history else ()),
            "notice": "",
        }


async def _follow(reply: Reply) -> AsyncIterator[str]:
    """All that has come so far, each time something comes."""
    text = ""
    try:
        while not reply.finished:
            await asyncio.sleep(TICK_SECONDS)
            piece = reply.take()
            if piece:
                text += piece
                yield text
    finally:
        reply.stop()


def build_messages(history: Sequence[Exchange]) -> list[dict[str, str]]:
    """A conversation as the chat component shows it."""
    messages: list[dict[str, str]] = []
    for exchange in history:
        messages.append({"role": "user", "content": _shown(exchange.message)})
        reply = exchange.reply or ("…" if exchange.pending else "")
        notice = f"({exchange.notice})" if exchange.notice else ""
        messages.append({"role": "assistant", "content": _shown("\n".join(part for part in (reply, notice) if part))})
    return messages


def _shown(text: str) -> str:
    """Text that stays text: without markdown the component still takes it for HTML."""
    return escape(text, quote=False)


def _notice(text: str, kind: str = "problem") -> View:
    from character_chatbot.markup import problem_block

    return {"notice": problem_block(text) if kind == "problem" else f'<p class="hint" role="status">{text}</p>'}


def build_page(service: Service, registry: Registry, family: str) -> gr.Blocks:
    """The page with both tabs. ``service`` need not have loaded anything."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from character_chatbot.markup import title_block

    title, logline = read_title(service.settings)
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(title_block(title, logline))
        with gr.Tab("Chat"):
            parts = _lay_out_chat()
        _connect_chat(page, parts, Handlers(service))
        with gr.Tab("Status") as tab:
            _lay_out_status(tab, service, registry, family)
    page.queue(api_open=False, default_concurrency_limit=None)
    return page


def read_title(settings: Settings) -> tuple[str, str]:
    """Title and logline of the series folder; a plain title where there is none."""
    from utils.series import open_series

    try:
        series = open_series(settings.paths.data)
    except SuiteError:
        return "Characters", ""
    return series.title, series.logline


def _lay_out_chat() -> dict[str, Any]:
    """The parts of the chat, by name."""
    import gradio as gr

    parts: dict[str, Any] = {"histories": gr.State({})}
    with gr.Row(elem_id="talk"):
        with gr.Column(scale=1, min_width=220, elem_id="cast"):
            parts["characters"] = gr.Radio([], label="Talk to", elem_id="characters")
        with gr.Column(scale=3, min_width=280):
            parts["speaking"] = gr.HTML()
            parts["banner"] = gr.HTML()
            parts["chat"] = gr.Chatbot(**_CHAT_OPTIONS, placeholder="Say something to begin.")
            parts["notice"] = gr.HTML()
            parts["box"] = gr.Textbox(
                label="Your message", lines=1, max_lines=4, autofocus=True, elem_id="box", placeholder="Say something…"
            )
            parts |= _lay_out_buttons()
            parts["evidence"] = gr.HTML()
            parts["name"] = gr.Textbox(
                "Visitor", label="You speak as", max_length=40, lines=1, max_lines=1, elem_id="name"
            )
    return parts


_CHAT_OPTIONS: dict[str, Any] = {
    "elem_id": "chat", "label": "Conversation", "show_label": False, "height": "min(52vh, 30rem)", "layout": "bubble",
    "render_markdown": False, "sanitize_html": True, "latex_delimiters": [], "allow_tags": False, "buttons": [],
    "feedback_options": None, "group_consecutive_messages": False,
}  # fmt: skip


def _lay_out_buttons() -> dict[str, Any]:
    import gradio as gr

    with gr.Row(elem_id="buttons"):
        parts: dict[str, Any] = {"send": gr.Button("Send", variant="primary", elem_id="send")}
        for name in ("stop", "retry", "undo", "clear"):
            parts[name] = gr.Button(name.capitalize(), interactive=False, elem_id=name)
    return parts


def _connect_chat(page: gr.Blocks, parts: dict[str, Any], handlers: Handlers) -> None:
    import gradio as gr

    def bind(handler: Handler) -> dict[str, Any]:
        outputs = [part for name, part in parts.items() if name != "name"]
        return {"fn": _by_part(handler, parts), "outputs": outputs, "show_progress": "hidden", "api_visibility": "private"}

    queue = {"concurrency_limit": REPLIES_AT_ONCE, "concurrency_id": "replies"}
    who = [parts["characters"], parts["histories"]]
    page.load(inputs=[parts["characters"]], **bind(handlers.open))
    send = gr.on(
        [parts["send"].click, parts["box"].submit],
        inputs=[parts["box"], parts["name"], *who],
        trigger_mode="once",
        **bind(handlers.send),
        **queue,
    )
    retry = parts["retry"].click(inputs=who, trigger_mode="once", **bind(handlers.retry), **queue)
    parts["characters"].input(inputs=who, cancels=[send, retry], **bind(handlers.pick))
    parts["stop"].click(inputs=who, cancels=[send, retry], **bind(handlers.stop))
    parts["undo"].click(inputs=who, **bind(handlers.undo))
    parts["clear"].click(inputs=who, **bind(handlers.clear))


def _by_part(handler: Handler, parts: Mapping[str, Any]) -> Handler:
    """The handler with views that gradio understands: by component, not by name."""

    async def run(*values: Any) -> AsyncIterator[View]:
        async with contextlib.aclosing(handler(*values)) as views:  # type: ignore[type-var]
            async for view in views:
                yield {parts[name]: value for name, value in view.items()}

    return run


def _lay_out_status(tab: gr.Tab, service: Service, registry: Registry, family: str) -> None:
    import gradio as gr

    refresh = gr.Button("Refresh", elem_id="refresh")
    with gr.Column(elem_id="status"):
        speaking, run = gr.HTML(), gr.HTML()
        curve = gr.LinePlot(
            x="step", y="loss", x_title="step", y_title="training loss", height=260, visible=False, buttons=[],
            label="Training loss of the active version",
        )  # fmt: skip
        data = gr.HTML()

    def show() -> tuple[Any, ...]:
        return _show_status(service, registry, family)

    options: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    for event in (tab.select, refresh.click):
        event(show, outputs=[speaking, run, curve, data], **options)


def _show_status(service: Service, registry: Registry, family: str) -> tuple[Any, ...]:
    """The blocks of the Status tab, and the loss curve where there is one."""
    import gradio as gr
    import pandas as pd

    from character_chatbot.markup import problem_block, status_blocks
    from character_chatbot.status import build_status

    source = None if service.loading or service.problem else service.source
    status = build_status(
        family, service.settings, registry, service.announcements,
        source=source, corpus=service.corpus, no_corpus=service.no_corpus,
    )  # fmt: skip
    speaking, run, data = status_blocks(status)
    if service.problem:
        speaking = problem_block(str(service.problem)) + speaking
    losses = (status["run"] or {}).get("losses", [])
    curve = gr.update(value=pd.DataFrame(losses, columns=["step", "loss"]) if losses else None, visible=bool(losses))
    return speaking, run, curve, data


def build_app(page: gr.Blocks, settings: Settings) -> FastAPI:
    """The page as a web application that asks for the password, if there is one, and loads nothing from elsewhere."""
    import gradio as gr
    from fastapi import FastAPI

    password = settings.secrets.app_password.reveal()
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=build_check(settings.app.user, password) if password else None,
        theme=_build_theme(),
        css_paths=[STYLE_SHEET],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        max_file_size="1mb",
    )
    app.add_middleware(OwnHostOnly)  # type: ignore[arg-type]
    return app


def _build_theme() -> Any:
    from gradio.themes import Default
    from gradio.themes.utils.fonts import Font, LocalFont
    from gradio.themes.utils import colors, sizes

    # Weights whose files in gradio hold the whole alphabet; its 600 holds a part of it.
    text = (LocalFont("Source Sans Pro", weights=(400, 700)), Font("system-ui"), Font("sans-serif"))
    code = (Font("ui-monospace"), Font("monospace"))
    hues = {"primary_hue": colors.teal, "secondary_hue": colors.teal, "neutral_hue": colors.stone}
    theme = Default(**hues, font=text, font_mono=code, text_size=sizes.text_lg, radius_size=sizes.radius_lg)
    fills = {"button_primary_background_fill": "*primary_700", "button_primary_background_fill_hover": "*primary_800"}
    return theme.set(**fills, **{f"{name}_dark": value for name, value in fills.items()})


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


def serve(app: FastAPI, listener: socket.socket, settings: Settings) -> int:
    """Answer until SIGTERM (then 0) or Ctrl-C (then KeyboardInterrupt)."""
    import uvicorn

    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    asked = f", as {settings.app.user} with the password" if settings.secrets.app_password else ""
    print(f"The page is at http://{shown}:{port}{asked}. Ctrl-C ends it.", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it has shut down
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        print("stopped", flush=True)
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main))

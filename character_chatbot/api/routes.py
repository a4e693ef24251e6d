"""The routes below ``/v1``, as OpenAI's API has them.

app.include_router(build_router(Endpoint(service, "llama"), access, meters))
client = openai.OpenAI(base_url="http://127.0.0.1:7860/v1", api_key="none")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from character_chatbot.api.access import Access
from character_chatbot.api.answer import Answer
from character_chatbot.api.cross_origin import answer_preflight, is_preflight, let_read
from character_chatbot.api.endpoint import Asked, Endpoint
from character_chatbot.api.errors import NOT_FOUND, ApiError, unreadable
from character_chatbot.api.forms import ChatForm, Form, TextForm
from character_chatbot.api.meters import Meters
from character_chatbot.api.schema import ChatRequest, CompletionRequest

if TYPE_CHECKING:
    from fastapi import APIRouter, Request
    from fastapi.responses import Response

LARGEST_BODY_BYTES = 2 * 2**20
ROUTES = {"/v1/models": "GET", "/v1/chat/completions": "POST", "/v1/completions": "POST"}
ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]  # with GET comes HEAD
LONGEST_SHOWN = 100  # characters of an address
LOOK_SECONDS = 0.1  # between two looks whether a client still waits for a whole reply


def build_router(endpoint: Endpoint, access: Access, meters: Meters) -> APIRouter:
    """The routes below ``/v1``."""
    from fastapi import APIRouter

    router = APIRouter()

    async def answer(name: str, request: Request, act: Callable[[], Awaitable[Response]]) -> Response:
        response = await _answer(name, meters, act)
        if not access.open_to_all:
            let_read(response)
        return response

    async def models(request: Request) -> Response:
        return await answer("models", request, lambda: _list_models(request, endpoint, access))

    async def one_model(request: Request) -> Response:
        name = request.path_params["model"]
        return await answer("models", request, lambda: _show_model(request, endpoint, access, name))

    async def chat(request: Request) -> Response:
        return await answer("chat", request, lambda: _chat(request, endpoint, access, meters))

    async def completions(request: Request) -> Response:
        return await answer("completions", request, lambda: _complete(request, endpoint, access, meters))

    async def other(request: Request) -> Response:
        return await answer("other", request, lambda: _refuse_other(request, access))

    for end in ("", "/"):  # a client whose address ends with one may well write two of them
        router.add_route(f"/v1/models{end}", models, methods=["GET"])
        router.add_route(f"/v1/chat/completions{end}", chat, methods=["POST"])
        router.add_route(f"/v1/completions{end}", completions, methods=["POST"])
    router.add_route("/v1/models/{model:path}", one_model, methods=["GET"])
    for path in ("/v1", "/v1/{rest:path}"):  # else the page behind it would answer, in a form no client reads
        router.add_route(path, other, methods=ANY_METHOD)
    return router


async def _refuse_other(request: Request, access: Access) -> Response:
    """Raises ApiError: there is nothing else below ``/v1``. A browser that asks what a page may do is told."""
    if is_preflight(request) and not access.open_to_all:
        return answer_preflight(request)
    path = request.url.path
    shown = path[:LONGEST_SHOWN]
    allowed = next((method for name, method in ROUTES.items() if f"{path}/".startswith(f"{name}/")), "")
    if allowed and request.method != allowed:
        raise ApiError(405, f"{shown} is asked with {allowed}, not with {request.method}.", code="no_such_method")
    there = ", ".join(f"{method} {name}" for name, method in ROUTES.items())
    raise ApiError(404, f"there is no {shown}. There are: {there}.", NOT_FOUND, "no_such_route")


async def _answer(name: str, meters: Meters, act: Callable[[], Awaitable[Response]]) -> Response:
    """The response of an act, or its error as one; counted either way."""
    try:
        response = await act()
    except ApiError as error:
        response = error.response()
    meters.request(name, response.status_code)
    return response


async def _list_models(request: Request, endpoint: Endpoint, access: Access) -> Response:
    from fastapi.responses import JSONResponse

    access.check(request, counted=False)
    return JSONResponse({"object": "list", "data": [_model(name) for name in endpoint.models()]})


async def _show_model(request: Request, endpoint: Endpoint, access: Access, model: str) -> Response:
    from fastapi.responses import JSONResponse

    access.check(request, counted=False)
    endpoint.character(model)
    return JSONResponse(_model(model))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "this machine"}


async def _chat(request: Request, endpoint: Endpoint, access: Access, meters: Meters) -> Response:
    access.check(request)
    given = await _read(request, ChatRequest)
    asked = await asyncio.to_thread(endpoint.read_chat, given)  # thousands of messages take a while
    answer = _begin(endpoint, asked, meters)
    return await _respond(request, ChatForm(given.model), answer, given)


async def _complete(request: Request, endpoint: Endpoint, access: Access, meters: Meters) -> Response:
    access.check(request)
    given = await _read(request, CompletionRequest)
    answer = _begin(endpoint, await asyncio.to_thread(endpoint.read_completion, given), meters)
    return await _respond(request, TextForm(given.model), answer, given)


async def _read(request: Request, kind: Any) -> Any:
    """The body, checked. Raises ApiError: too large, no JSON, or not what the reference asks for."""
    from pydantic import ValidationError

    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {LARGEST_BODY_BYTES:,} bytes.")
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        raise unreadable(error) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is no JSON.") from None


def _begin(endpoint: Endpoint, asked: Asked, meters: Meters) -> Answer:
    return Answer(endpoint.begin(asked), asked, endpoint.service, meters)


async def _respond(request: Request, form: Form, answer: Answer, given: Any) -> Response:
    from fastapi.responses import JSONResponse, StreamingResponse

    if given.stream:
        await answer.prompted()
        pieces = _stream(form, answer, with_usage=given.with_usage)
        return StreamingResponse(pieces, media_type="text/event-stream", headers={"cache-control": "no-store"})
    text = await _whole(request, answer)
    text = text.rstrip() if answer.goes_on else text.strip()
    return JSONResponse(form.whole(text, answer.reason, answer.usage()))


async def _whole(request: Request, answer: Answer) -> str:
    """All of a reply; a client that goes away ends it, and nobody reads what has come."""
    reading = asyncio.ensure_future(_join(answer))
    try:
        while not reading.done() and not await request.is_disconnected():
            await asyncio.wait([reading], timeout=LOOK_SECONDS)
        if not reading.done():
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            return ""
        return reading.result()
    finally:
        reading.cancel()


async def _join(answer: Answer) -> str:
    async with contextlib.aclosing(answer.texts()) as texts:
        return "".join([piece async for piece in texts])


async def _stream(form: Form, answer: Answer, *, with_usage: bool) -> AsyncGenerator[str]:
    """Server-sent events; a client that goes away ends the reply."""
    yield _event(form.piece(None))
    try:
        async with contextlib.aclosing(answer.texts()) as texts:
            async for text in texts:
                yield _event(form.piece(text))
    except ApiError as error:
        yield _event(error.to_dict())
        return
    yield _event(form.piece("", answer.reason))
    if with_usage:
        yield _event(form.count(answer.usage()))
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"

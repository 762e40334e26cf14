"""The console as an application of its own, beside the API's routes."""

from fastapi.responses import RedirectResponse, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Route

from veneer_server.api.deps import Server
from veneer_server.console import comparing, keys, signing, static_files, usage
from veneer_server.console.batches import pages as batches
from veneer_server.console.batches import results
from veneer_server.console.figures.history import History
from veneer_server.console.figures.recent import Recent
from veneer_server.console.frame import Frame, Visit
from veneer_server.console.overview import page as overview
from veneer_server.console.rollouts import pages as rollouts
from veneer_server.console.training import acting as training_acting
from veneer_server.console.training import pages as training
from veneer_server.console.variants import acting, dropping, examining, listing, showing
from veneer_server.tenancy.scopes import Scope

PATH = "/console"


def console(server: Server) -> list[BaseRoute]:
    """Return the routes of the console of ``server``: its pages, and the way to the first one."""
    return [Route(PATH, _to_first_page), Mount(PATH, Starlette(routes=_pages(server)))]


def _pages(server: Server) -> list[BaseRoute]:
    frame, recent, history = Frame(server), Recent(server.metrics), History(server.metrics)
    server.background.start("figures of the console", history.run)
    return [
        frame.route("/", overview.page(recent, history), Scope.METRICS),
        frame.route("/variants", listing.page(recent), Scope.ADAPTERS_READ),
        *(
            frame.route(f"/variants/{name}", act, Scope.ADAPTERS_WRITE, "POST")
            for name, act in acting.ACTIONS.items()
        ),
        frame.route("/variants/upload", dropping.drop, Scope.ADAPTERS_WRITE, "POST"),
        frame.route("/variants/{name:path}", showing.page(recent, history), Scope.ADAPTERS_READ),
        frame.route("/reports/{name:path}", examining.show, Scope.ADAPTERS_WRITE),
        frame.route("/compare", comparing.show, Scope.INFER),
        frame.script_route("/compare/answers", comparing.ask, Scope.INFER),
        frame.route("/rollouts", rollouts.show, Scope.ADAPTERS_READ),
        frame.route("/rollouts", rollouts.move, Scope.ADAPTERS_WRITE, "POST"),
        frame.route("/training", training.show, Scope.ADAPTERS_WRITE),
        *(
            frame.route(f"/training/{name}", act, Scope.ADAPTERS_WRITE, "POST")
            for name, act in training_acting.ACTIONS.items()
        ),
        frame.route("/training/{job_id}", training.show_job, Scope.ADAPTERS_WRITE),
        frame.route("/batches", batches.show, Scope.INFER),
        frame.route("/batches/start", batches.start, Scope.INFER, "POST"),
        frame.route("/batches/cancel", batches.cancel, Scope.INFER, "POST"),
        frame.route("/batches/{batch_id}", batches.show_batch, Scope.INFER),
        frame.route("/files/{file_id}", results.send, Scope.INFER),
        frame.route("/keys", keys.show, Scope.KEYS_ADMIN),
        frame.route("/keys", keys.create, Scope.KEYS_ADMIN, "POST"),
        frame.route("/keys/revoke", keys.revoke, Scope.KEYS_ADMIN, "POST"),
        frame.route("/usage", usage.show, Scope.USAGE),
        frame.route("/sign-in", signing.ask),
        frame.route("/sign-in", signing.sign_in, method="POST"),
        frame.route("/sign-out", signing.sign_out, method="POST"),
        frame.route("/static/{name}", _static),
        frame.route("/{rest:path}", _nothing),
        frame.route("/{rest:path}", _nothing, method="POST"),
    ]


async def _to_first_page(_request: object) -> Response:
    return RedirectResponse(f"{PATH}/", 307)


async def _static(visit: Visit) -> Response:
    return await static_files.send(visit.request)


async def _nothing(_visit: Visit) -> Response:
    raise HTTPException(404, "The console has no such page.")

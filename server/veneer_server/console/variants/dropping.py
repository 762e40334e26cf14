"""A folder or its two files, dropped onto a page or chosen in a form."""

from fastapi.responses import RedirectResponse, Response

from veneer_server.api.admin.uploading import publish, receive
from veneer_server.console.forms import text_of
from veneer_server.console.frame import Visit
from veneer_server.console.variants.paths import page_of


async def drop(visit: Visit) -> Response:
    """Publish the two files of the form under the name that it has, and lead to their page.

    Raises:
        InvalidRequest: the form has no name, or not the two files.
        NotOwned: the name is another tenant's, or the operator's.
        AdapterRejected: the leaf says what is wrong; what served before still serves.
        AdapterUnavailable: the disk or the engine does not work now.
    """
    async with visit.server.adapters.receiving() as upload:
        form = await receive(visit.request, upload)
        name = text_of(form, "name")
        await publish(visit.request, visit.server, visit.who, name, upload, form)
    return RedirectResponse(page_of(visit, name, "upload"), 303)

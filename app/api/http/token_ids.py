"""Checks that the token ids in a request come from the tokenizer of the version that reads them."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from app.api.http.caller import Caller
from app.api.http.services import services_of
from app.errors import InvalidRequest
from app.inference.items import Item

HEADER = "x-token-ids-of"
FIELD = "token_ids_of"
UNNAMED = (
    "the input contains token ids, but the request does not name the model whose tokenizer produced them; ids from "
    "another tokenizer would produce a wrong vector. Send texts (with LangChain: "
    "OpenAIEmbeddings(check_embedding_ctx_length=False)), or name the model in "
    f"{FIELD} or in the header {HEADER}. To accept all ids, set OSTINATO_ACCEPT_TOKEN_IDS=1"
)


async def check_token_ids(
    request: Request, caller: Caller, items: Sequence[Item], token_ids_of: str | None, *, needs_name: bool = False
) -> None:
    """Check that token ids come from the tokenizer of the caller's version.

    `token_ids_of` is a field in the request body. If the field is missing, the header `x-token-ids-of` is used. The
    value is a version's model reference or digest. With `needs_name`, token ids are rejected if both the field and the
    header are missing, unless the `accept_token_ids` setting is on. Only the first item of a request is inspected,
    because all items have the same type. Raises InvalidRequest if the check fails, and NotFound if the value does not
    match any version.
    """
    owner = token_ids_of or request.headers.get(HEADER)
    if not isinstance(items[0], list):
        return
    services = services_of(request)
    if owner:
        await services.inference.check_tokenizer(caller.reference, owner, caller.principal, FIELD)
    elif needs_name and not services.settings.accept_token_ids:
        version = await services.inference.versions.get(caller.reference, caller.principal)
        if version.tokenizer is not None:  # a version that reads numbers rejects all token ids
            raise InvalidRequest(UNNAMED, code="token_ids_unnamed", param="input")

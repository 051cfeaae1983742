"""Builds generation queries from the fields that Ollama's requests have in common."""

from __future__ import annotations

from app.api.http.caller import Caller
from app.api.ollama.options import NONE, sampling_params
from app.api.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest
from app.inference.conversations import Conversation
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.queries import GenerationQuery
from app.tokenization.chat import ANSWER_LEAD


def generation_query(
    caller: Caller, body: OllamaChatRequest | OllamaGenerateRequest, item: Item, param: str
) -> GenerationQuery:
    """Return the query that continues `item`, which comes from the request field `param`.

    If the item is a conversation, the space before the answer is removed.
    """
    options = body.options or NONE
    return GenerationQuery(
        caller.reference,
        [item],
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=-1 if body.truncate else None, side="left", remedy="truncate: true"),
        param,
        params=sampling_params(options),
        seed=options.masked_seed,
        stops=options.stops,
        open_ended=options.limit is None,
        limit_param="options.num_predict",
        lead=ANSWER_LEAD if isinstance(item, Conversation) else "",
    )

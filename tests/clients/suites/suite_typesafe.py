"""TypeSafe's package: typed questions about a state, also compressed with zstd."""

from __future__ import annotations

import asyncio
import math

from calls import COMPLAINT, CRASH, URL, Calls, classified
from typesafe_sdk import AsyncTypeSafeClient, Choice, Noul, Score, TypeSafeClient

calls = Calls("typesafe-sdk")
department = Choice(criteria={"billing": None, "delivery": None, "returns": None})
questions = {
    "department": department,
    "billing": Noul(instructions="?"),
    "scale": Score(criteria=["account", "billing"]),
}


async def asynchronous() -> object:
    async with AsyncTypeSafeClient(base_url=URL, api_key="none") as other:
        return await other.system_one(model="departments", state=COMPLAINT, questions=questions)


with TypeSafeClient(base_url=URL, api_key="none") as client:

    def right(result: object) -> bool:
        chosen = result.choices["department"]  # type: ignore[attr-defined]
        return (
            chosen.choice == "billing"
            and 0 < chosen.confidence <= 1
            and result.nouls["billing"].noul > 0.5  # type: ignore[attr-defined]
            and result.scores["scale"].score > 0.5  # type: ignore[attr-defined]
            and bool(result.request_id)  # type: ignore[attr-defined]
        )

    calls.works(
        "system_one", lambda: client.system_one(model="departments", state=COMPLAINT, questions=questions), right
    )
    calls.works(
        "system_one, compressed",
        lambda: client.system_one(
            model="departments",
            state=f"{COMPLAINT} " * 60,
            questions=questions,
            extra_body={"truncate_prompt_tokens": -1},
        ),
        right,
    )
    calls.works("system_one, object", lambda: client.system_one(
        model="departments", state={"message": COMPLAINT}, questions=questions), right)  # fmt: skip
    calls.works(
        "system_one, multilabel",
        lambda: (
            client.system_one(
                model="tickets", state=CRASH, questions={name: Noul(instructions="?") for name in ("bug", "billing")}
            ).nouls
        ),
        lambda n: all(math.isclose(n[k].noul, v, abs_tol=1e-6) for k, v in classified("tickets", CRASH).items()),
    )
    calls.works(
        "AsyncTypeSafeClient: system_one",
        lambda: asyncio.run(asynchronous()),
        right,
    )
    calls.works("models.list", lambda: [m.name for m in client.models.list().models], lambda n: "departments" in n)
    calls.refused(
        "system_one, unknown label",
        lambda: client.system_one(model="departments", state="x", questions={"q": Choice(criteria={"biling": None})}),
        "did you mean 'billing'",
    )
    calls.refused(
        "system_one, abstaining",
        lambda: client.system_one(
            model="departments", state=COMPLAINT, questions=questions, extra_headers={"x-abstain-below": "0.999999999"}
        ),
        "the version abstained",
    )
    calls.refused(
        "system_one, unknown model",
        lambda: client.system_one(model="nobody", state="x", questions=questions),
        "model not found: 'nobody'",
    )
calls.report()

"""`ostinato webhooks`: list, create, test and delete webhook endpoints, and replace their secrets."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.output import Json, connect, json_for_all, print_json, table, when
from app.webhooks.events import EVENT_TYPES
from app.wording import listed

ENDPOINTS = "/v1/webhook_endpoints"
EndpointId = Annotated[str, typer.Argument(help="Id of a webhook endpoint: whe-…")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        help=f"Type of event: {listed(EVENT_TYPES)}. May be given several times.",
        show_default="all types",
    ),
]

webhooks = typer.Typer(
    help="Manage the URLs that receive job and batch events. Without a command, lists them.",
    invoke_without_command=True,
)


@webhooks.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_endpoints(as_json=as_json)
    elif as_json:
        json_for_all(context)


@webhooks.command("list")
def list_endpoints(
    all_owners: Annotated[
        bool, typer.Option("--all-owners", help="Include the endpoints of other keys (operators only).")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the webhook endpoints."""
    with connect() as client:
        listed = list(client.pages(ENDPOINTS, **({"all_owners": True} if all_owners else {})))
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            e["id"],
            e["name"],
            e["url"],
            *([e["owner"]] if all_owners else []),
            e["waiting_deliveries"],
            e["failed_deliveries"],
            when(e["created_at"]),
        )
        for e in listed
    ]
    columns = ["endpoint", "name", "url", *(["key"] if all_owners else []), "waiting", "failed", "created"]
    table(columns, rows, empty="no webhook endpoints yet")
    for endpoint in listed:
        if endpoint["last_error"]:
            print(f"{endpoint['id']}: {endpoint['last_error']}")


@webhooks.command("create")
def create(
    url: Annotated[str, typer.Argument(help="URL that receives the events.")],
    name: Annotated[str, typer.Option(help="Name of the endpoint.")] = "webhook",
    event: Events = None,
    as_json: Json = False,
) -> None:
    """Create a webhook endpoint and print its secret, which is not shown again."""
    with connect() as client:
        types = event or client.get("/v1/webhook_event_types")["data"]
        created = client.post(ENDPOINTS, {"name": name, "url": url, "event_types": types})
    _print_secret(created, "created", as_json)


@webhooks.command("rotate-secret")
def rotate_secret(
    endpoint_id: EndpointId,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Also sign with the old secret, for 24 hours.")] = False,
    as_json: Json = False,
) -> None:
    """Replace the secret of a webhook endpoint and print the new one, which is not shown again."""
    with connect() as client:
        body = {"keep_old_secret_active_for_24_hours": keep_old}
        changed = client.post(f"{ENDPOINTS}/{endpoint_id}/rotate_secret", body)
    _print_secret(changed, "has a new secret", as_json)


@webhooks.command("test")
def test(
    endpoint_id: EndpointId,
    event: Annotated[str, typer.Option("--event", help="Type of the test event.")] = "fine_tuning.job.succeeded",
    as_json: Json = False,
) -> None:
    """Send a test event to a webhook endpoint and print the status of its answer."""
    with connect() as client:
        reply = client.post(f"{ENDPOINTS}/{endpoint_id}/test", {"event_type": event})
    print_json(reply) if as_json else print(f"{endpoint_id} answered {reply['status_code']}")


@webhooks.command("delete")
def delete(endpoint_id: EndpointId, as_json: Json = False) -> None:
    """Delete a webhook endpoint and the events that are waiting to be sent to it."""
    with connect() as client:
        reply = client.call("DELETE", f"{ENDPOINTS}/{endpoint_id}")
    print_json(reply) if as_json else print(f"{endpoint_id} is deleted")


def _print_secret(endpoint: dict[str, object], what: str, as_json: bool) -> None:
    if as_json:
        print_json(endpoint)
    else:
        print(f"{endpoint['id']} {what}; its secret is shown only now:\n{endpoint['signing_secret']}")

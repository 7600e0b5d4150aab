"""Runs the server of one experiment until it is interrupted: prints its address with the token, and opens the browser."""

from __future__ import annotations

import asyncio
import shutil
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import TEMPORARY
from nnactive_ext.serve.app import build
from nnactive_ext.serve.crops import Cache, Children
from nnactive_ext.serve.safety import Guard, check_host, new_token
from nnactive_ext.serve.site import Site
from nnactive_ext.serve.slicer_people import People
from nnactive_ext.serve.slicer_process import SlicerProcess, check_installed


def serve(
    site: Site,
    host: str = "127.0.0.1",
    port: int = 0,
    public: bool = False,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the pages of one experiment until Ctrl-C.

    Args:
        site: the experiment.
        host: the address to listen on; another one than this machine's own needs ``public``.
        port: 0: a free one.
        public: let other machines reach the server.
        browser: open the address in the browser.
        say: is told the address.

    Raises:
        NnActiveError: the address cannot be listened on, or is not meant to be.
    """
    check_host(host, public)
    site.give_pseudonyms()
    if site.editor == "slicer":
        check_installed()
    listening, token = _listening(host, port), new_token()
    for left in site.folder.glob(f"{TEMPORARY}*"):  # of a killed server
        shutil.rmtree(left, ignore_errors=True)
    children = Children()
    cache = Cache(site, children)
    people = People(lambda: SlicerProcess(site.folder / "slicer.log"))
    try:
        children.prepare()
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/?token={token}"
        say(f"Annotate in the browser: {address}")
        if site.interactive:
            say(site.interactive.greeting())
        say("The address holds a secret: whoever has it can see the images and hand in answers. Stop the server with Ctrl-C.")
        settings = uvicorn.Config(
            Guard(build(site, cache, people), token, host),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
        )
        if browser:
            webbrowser.open(address)
        asyncio.run(uvicorn.Server(settings).serve(sockets=[listening]))
    except KeyboardInterrupt:
        pass
    finally:
        people.close()
        cache.close()
        children.close()
        if site.interactive:
            site.interactive.close()
        listening.close()
    say("The server has ended. Answers and drafts are kept.")
    if at_work := site.experiment.under_way():
        say(f"Training goes on: {at_work}.")


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(100)  # from now on, so that a browser that opens the page at once waits for the server
    except (OSError, OverflowError) as error:
        raise NnActiveError(f"-host {host} -port {port}: cannot listen there ({error}). Choose another port, or 0.") from None
    return found

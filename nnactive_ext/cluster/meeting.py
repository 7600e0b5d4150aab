"""The file in which a run and its workers meet: address, keys, nnU-Net's folders and versions; readable by its owner only."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import observe
from nnactive_ext.files import read_json

SAME = ("nnactive-ext", "nnunetv2")
"""Packages of which a worker must have the same version as the run."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """``address``: of the scheduler. ``certificate``, ``key``: PEM, of this run alone. ``folders``: nnU-Net's, by their
    environment variables. ``token_file`` in them holds ``token``: whoever reads it there sees the same folders."""

    address: str
    certificate: str
    key: str
    folders: Mapping[str, str]
    token: str
    token_file: str
    versions: Mapping[str, str]
    host: str

    @classmethod
    def make(cls, address: str, certificate: str, key: str, folders: Mapping[str, str], token_file: Path) -> Meeting:
        """Of this process; writes the token, which :meth:`end` removes."""
        token = secrets.token_hex(16)
        token_file.parent.mkdir(parents=True, exist_ok=True)
        token_file.write_text(token, encoding="utf-8")
        return cls(
            address=address,
            certificate=certificate,
            key=key,
            folders=dict(folders),
            token=token,
            token_file=str(token_file),
            versions=_versions(),
            host=socket.gethostname(),
        )

    def write(self, file: Path) -> None:
        """Where workers look for it; only its owner may read it, because whoever does can run code on the workers.

        What a run that was killed left there is replaced.

        Raises:
            NnActiveError: there is another file with this name.
        """
        if file.is_file():
            self.read(file)._remove_token()
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as output:
                json.dump(asdict(self), output, indent=1)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)

    def end(self, file: Path) -> None:
        """Remove the token, and the file if it is still of this run."""
        self._remove_token()
        if file.is_file() and Meeting.read(file).token == self.token:
            file.unlink()

    @classmethod
    def read(cls, file: Path) -> Meeting:
        """From its file.

        Raises:
            NnActiveError: the file is damaged, or no such file.
        """
        return read_json(file, cls, "Name the file that the run was given with -workers.")

    def check(self) -> None:
        """Make sure that a worker here fits the run.

        Raises:
            NnActiveError: it does not see the same folders, or has another version of a package.
        """
        token = Path(self.token_file)
        if not self._token_is_there():
            raise NnActiveError(
                f"{token}: not the file that the run on {self.host} wrote. Workers need the folders of the run under the same "
                "paths: " + ", ".join(f"{name}={folder}" for name, folder in self.folders.items())
            )
        for package, version in _versions().items():
            if version != self.versions.get(package):
                raise NnActiveError(
                    f"{package}: version {version} here ({socket.gethostname()}), {self.versions.get(package)} on {self.host}. "
                    "Install the same version, or use the same environment."
                )

    def _token_is_there(self) -> bool:
        file = Path(self.token_file)
        return file.is_file() and file.read_bytes() == self.token.encode()

    def _remove_token(self) -> None:
        """Nothing but the token, whatever the file of a run names."""
        if self._token_is_there():
            Path(self.token_file).unlink(missing_ok=True)

    def security(self) -> Any:
        """For the scheduler, its client and its workers: TLS with this run's own key."""
        from distributed.security import Security

        both = {f"tls_{who}_{what}": text for who in ("client", "scheduler", "worker") for what, text in self._parts}
        return Security(require_encryption=True, tls_ca_file=self.certificate, **both)

    @property
    def _parts(self) -> list[tuple[str, str]]:
        return [("cert", self.certificate), ("key", self.key)]


def _versions() -> dict[str, str]:
    found = observe().versions
    return {package: str(found.get(package, "")) for package in SAME}

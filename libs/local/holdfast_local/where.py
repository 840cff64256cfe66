"""Where the system is that a command means: what its options say, else the environment, else ``holdfast up`` in this folder,
else the defaults. Connects to nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import Terminal
from holdfast_local.data_dir import DataDir

if TYPE_CHECKING:
    from holdfast.settings import Settings

DATA_DEFAULT = Path(".holdfast")
GATEWAY_DEFAULT = "http://127.0.0.1:8080"
THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts for which no proxy is asked. ``holdfast.settings`` has them too, and takes longer to import than a command may."""


class SettingNotUsable(Terminal):
    """A HOLDFAST_* variable has a value that cannot be."""


def gateway_url(option: str | None, data: Path = DATA_DEFAULT) -> str:
    """A gateway's URL. ``option`` is that of ``--url``, or of HOLDFAST_URL."""
    return option or _of_up(data, "url") or GATEWAY_DEFAULT


def postgres_url(option: str | None, data: Path = DATA_DEFAULT) -> str:
    """The record's URL."""
    wanted = option or os.environ.get("HOLDFAST_POSTGRES_URL") or _of_up(data, "postgres_url")
    return wanted or _settings().postgres_url


def nats_urls(option: str | None, data: Path = DATA_DEFAULT) -> Sequence[str]:
    """The URLs of the NATS servers."""
    wanted = option or os.environ.get("HOLDFAST_NATS_URL") or _of_up(data, "nats_url")
    return tuple(url.strip() for url in wanted.split(",")) if wanted else _settings().nats_url


def _settings() -> Settings:
    from pydantic import ValidationError  # noqa: PLC0415  # slow to import, both

    from holdfast.settings import Settings  # noqa: PLC0415

    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SettingNotUsable(f"HOLDFAST_{'_'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}") from error


def _of_up(data: Path, name: str) -> str | None:
    addresses = DataDir(data.absolute()).running_addresses()
    return str(addresses[name]) if addresses and addresses.get(name) else None

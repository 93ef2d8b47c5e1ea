"""Accounts of devices at a broker of `gridseal servers up`, as the platform keeps them."""

from functools import partial

from infra.mosquitto_accounts import Door, MosquittoAccounts, hang_up
from infra.servers.connect import MosquittoAt


def accounts(at: MosquittoAt) -> MosquittoAccounts:
    """Those at this broker."""
    door = Door(at.host, at.port, at.ca, at.client.certificate, at.client.key)
    return MosquittoAccounts(at.password_file, partial(hang_up, at.place.folder / "pid"), door)

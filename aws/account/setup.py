"""What the project needs in an account before its first instance: found, completed or made. ``init`` does this.

    for step in SetUp(sessions, names).apply(hf_token=settings.secrets.hf_token):
        print(step.action, step.what, step.name)

A second time it changes nothing. The things one by one: setup_bucket, setup_roles, setup_reaper, setup_keys,
setup_network; how each of them is completed: setup_steps; what removes them: destroy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from aws.account.bucket import ensure_bucket
from aws.account.keys import ensure_key_pair
from aws.account.network import (
    addresses_to_open,
    caller_address,
    ensure_security_group,
    find_security_group,
    open_ports,
)
from aws.account.parameters import get_parameter, parameter_exists, put_parameter
from aws.account.reaper_function import ensure_function, ensure_log_group, ensure_schedule_group
from aws.account.roles import ensure_instance_profile, ensure_instance_role, ensure_reaper_role, ensure_scheduler_role
from aws.account.steps import COMPLETED, LEFT_OUT, MADE, THERE, WOULD_MAKE, Site, Step
from aws.config import SERVING, TRAINING, Names
from config import Secret

if TYPE_CHECKING:
    from aws.sessions import Sessions

__all__ = ["SetUp", "Step", "addresses_to_open", "caller_address", "find_security_group", "open_ports"]

PURPOSES = (TRAINING, SERVING)


class SetUp:
    """The set-up of one account and region.

    Args:
        address: tells the public address of this machine; asked only where nobody says who may connect.
        sleep: takes seconds; a new role is not visible everywhere at once.
    """

    def __init__(
        self,
        sessions: Sessions,
        names: Names,
        *,
        address: Callable[[], str] = caller_address,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sessions, self._names, self._address, self._sleep = sessions, names, address, sleep

    def apply(
        self,
        *,
        dry_run: bool = False,
        hf_token: Secret | None = None,
        open_to: Sequence[str] = (),
        say: Callable[[Step], None] = lambda step: None,
    ) -> list[Step]:
        """Make what is missing, in an order in which each thing finds what it builds on.

        Args:
            dry_run: only look.
            hf_token: of the Hugging Face hub, kept as a SecureString; None or empty: what is kept stays.
            open_to: who may connect; default: ``aws.open_to``, or else this machine's address.
            say: hears each step once it is taken.

        Raises:
            CloudError, ConfigError, StoreError: at the first thing that cannot be made; the next time goes on there.
        """
        site = Site(self._sessions, self._names, dry_run, self._sleep)
        steps = []
        for step in self._steps(site, hf_token or Secret(""), tuple(open_to)):
            say(step)
            steps.append(step)
        return steps

    def _steps(self, site: Site, hf_token: Secret, open_to: tuple[str, ...]) -> Iterator[Step]:
        chosen = open_to or self._names.settings.open_to
        blocks = chosen or (self._address(),)  # first: without it nothing can be opened at the end
        yield ensure_bucket(site)
        # Roles first, functions last: AWS takes some seconds to show a new role to its services.
        for purpose in PURPOSES:
            yield ensure_instance_role(site, purpose)
        yield ensure_reaper_role(site)
        yield ensure_scheduler_role(site)
        for purpose in PURPOSES:
            yield ensure_instance_profile(site, purpose)
        yield ensure_key_pair(site)
        for purpose in PURPOSES:
            yield ensure_security_group(site, purpose, blocks, configured=bool(chosen))
        yield ensure_token(site, hf_token)
        yield ensure_schedule_group(site)
        yield ensure_log_group(site)
        yield ensure_function(site)


def ensure_token(site: Site, token: Secret) -> Step:
    """The token of the Hugging Face hub. Raises CloudError."""
    name = site.names.hf_token
    there = parameter_exists(site.sessions, name)
    if not token:
        note = "no HF_TOKEN is set: gated bases such as meta-llama cannot be fetched"
        return Step("token", name, THERE) if there else Step("token", name, LEFT_OUT, note)
    if site.dry_run:
        same = there and get_parameter(site.sessions, name) == token
        return Step("token", name, THERE if same else WOULD_MAKE)
    written = put_parameter(site.sessions, site.names, name, token)
    return Step(
        "token", name, (COMPLETED if there else MADE) if written else THERE, "new value" if there and written else ""
    )

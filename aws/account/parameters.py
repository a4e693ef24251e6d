"""Secrets in the account: SSM SecureStrings. Everything else passes their names, never their values.

    put_parameter(sessions, names, names.hf_token, settings.secrets.hf_token)
    get_parameter(sessions, names.hf_token)     # a Secret, or None

They are encrypted with the account's own key for SSM (alias aws/ssm), which takes no right of its own and
costs nothing.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aws.account.steps import ask, tag_list
from aws.config import SET_UP, Names
from config import Secret

if TYPE_CHECKING:
    from aws.sessions import Sessions

ABSENT = "ParameterNotFound"
PASSWORD_BYTES = 18  # 144 bits, 24 characters


def get_parameter(sessions: Sessions, name: str) -> Secret | None:
    """The value of a parameter; None: there is none. Raises CloudError."""
    which = {"Name": name, "WithDecryption": True}
    found = ask(f"read the parameter {name}", sessions.client("ssm").get_parameter, ABSENT, **which)
    return Secret(found["Parameter"]["Value"]) if found else None


def parameter_exists(sessions: Sessions, name: str) -> bool:
    """Whether there is such a parameter; its value stays encrypted. Raises CloudError."""
    which = {"Name": name, "WithDecryption": False}
    return bool(ask(f"look for the parameter {name}", sessions.client("ssm").get_parameter, ABSENT, **which))


def put_parameter(sessions: Sessions, names: Names, name: str, value: Secret) -> bool:
    """Keep a value, unless it is what is kept already. Raises CloudError.

    Returns:
        Whether it was written.
    """
    present = get_parameter(sessions, name)
    if present == value:
        return False
    # SSM takes tags only with a new parameter; those of an old one stay.
    options = {"Overwrite": True} if present else {"Tags": tag_list(names.tags(SET_UP))}
    which = {"Name": name, "Value": value.reveal(), "Type": "SecureString"}
    ask(f"write the parameter {name}", sessions.client("ssm").put_parameter, **which, **options)
    return True


def delete_parameter(sessions: Sessions, name: str) -> None:
    """Remove a parameter; silent if there is none. Raises CloudError."""
    ask(f"delete the parameter {name}", sessions.client("ssm").delete_parameter, ABSENT, Name=name)


def make_password() -> Secret:
    """A password that nobody guesses, of letters, digits, ``-`` and ``_``."""
    return Secret(secrets.token_urlsafe(PASSWORD_BYTES))

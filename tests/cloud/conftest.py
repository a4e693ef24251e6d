"""An AWS account of its own for each test that asks for it, see tests/doubles/account.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from doubles.account import ACCOUNT_NUMBER, Account

from aws.config import Names
from aws.sessions import Sessions
from config import AwsSettings


@pytest.fixture
def account() -> Iterator[Account]:
    """An empty account with the public images; nothing leaves this process."""
    with Account() as made:
        yield made


@pytest.fixture
def sessions(account: Account) -> Sessions:
    """Clients of the account with the default settings."""
    return Sessions(AwsSettings())


@pytest.fixture
def names() -> Names:
    """What things are called in the account."""
    return Names(AwsSettings(), ACCOUNT_NUMBER)

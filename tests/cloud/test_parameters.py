"""Secrets in the account: kept encrypted, written only when they change, shown nowhere."""

from __future__ import annotations

import re

import pytest
from doubles.account import Account

from aws.account.parameters import delete_parameter, get_parameter, make_password, parameter_exists, put_parameter
from aws.config import SET_UP, Names
from aws.errors import CloudError
from aws.sessions import Sessions
from config import Secret

VALUE = Secret("correct horse battery")


def test_a_secret_comes_back_as_a_secret(sessions: Sessions, names: Names) -> None:
    assert get_parameter(sessions, names.hf_token) is None
    assert put_parameter(sessions, names, names.hf_token, VALUE) is True
    found = get_parameter(sessions, names.hf_token)
    assert found == VALUE
    assert VALUE.reveal() not in repr(found)


def test_it_is_encrypted_and_tagged(sessions: Sessions, names: Names) -> None:
    put_parameter(sessions, names, names.hf_token, VALUE)
    ssm = sessions.client("ssm")
    assert ssm.get_parameter(Name=names.hf_token)["Parameter"]["Type"] == "SecureString"
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=names.hf_token)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == names.tags(SET_UP)


def test_the_same_value_is_not_written_again(account: Account, sessions: Sessions, names: Names) -> None:
    put_parameter(sessions, names, names.hf_token, VALUE)
    assert put_parameter(sessions, names, names.hf_token, VALUE) is False
    assert put_parameter(sessions, names, names.hf_token, Secret("another")) is True
    assert get_parameter(sessions, names.hf_token) == Secret("another")
    assert len(account.calls_of("PutParameter")) == 2
    ssm = sessions.client("ssm")
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=names.hf_token)["TagList"]


def test_whether_it_exists_is_asked_without_its_value(account: Account, sessions: Sessions, names: Names) -> None:
    assert not parameter_exists(sessions, names.hf_token)
    put_parameter(sessions, names, names.hf_token, VALUE)
    assert parameter_exists(sessions, names.hf_token)
    assert account.calls[-1].parameters["WithDecryption"] is False


def test_deleting_is_silent_when_there_is_none(sessions: Sessions, names: Names) -> None:
    put_parameter(sessions, names, names.hf_token, VALUE)
    delete_parameter(sessions, names.hf_token)
    delete_parameter(sessions, names.hf_token)
    assert not parameter_exists(sessions, names.hf_token)


@pytest.mark.parametrize("operation", ["GetParameter", "PutParameter"])
def test_an_error_names_the_parameter_and_not_its_value(
    account: Account, sessions: Sessions, names: Names, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="aws")
    account.fail(operation, "AccessDeniedException", times=9)
    with pytest.raises(CloudError, match=names.hf_token) as caught:
        put_parameter(sessions, names, names.hf_token, VALUE)
    assert VALUE.reveal() not in str(caught.value) + repr(caught.value) + caplog.text


def test_a_password_is_long_and_never_the_same() -> None:
    made = {make_password().reveal() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{24}", each) for each in made)

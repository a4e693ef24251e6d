"""The key pair to log in with: made on this machine, and only its public half goes to EC2.

No private key travels: another machine gets a key pair of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aws.account.steps import Part, Site, Step, ask, ensure
from aws.config import Names
from aws.errors import InvalidRequest
from config import ConfigError
from utils.files import disk_errors

ABSENT = "InvalidKeyPair.NotFound"
PRIVATE = 0o600


def ensure_key_pair(site: Site) -> Step:
    """The private key in ``aws.key_file`` and its public half in EC2.

    Raises:
        InvalidRequest: EC2 has a key of this name, and the file is not its other half, or not here.
        ConfigError: the file holds no private key that can be read.
        StoreError, CloudError.
    """
    names, file, ec2 = site.names, site.names.settings.key_file.expanduser(), site.client("ec2")

    def registered() -> str:
        """The public half that EC2 has, as OpenSSH writes it; empty: none."""
        doing, which = f"look for the key pair {names.key_pair}", {"KeyNames": [names.key_pair]}
        found = ask(doing, ec2.describe_key_pairs, ABSENT, **which, IncludePublicKey=True)
        return str(found["KeyPairs"][0].get("PublicKey", "unknown")) if found and found["KeyPairs"] else ""

    def is_registered() -> bool:
        """Once EC2 has a key of this name, the file must be its other half: nothing else could log in."""
        there = registered()
        if there and not file.exists():
            raise _without_file(names, file)
        if there and _core(there) != _core(public_half(file)):
            raise _another_key(names, file)
        return bool(there)

    def register() -> None:
        if not file.exists():
            make_private_key(file)
        ask(
            f"import the key pair {names.key_pair}",
            ec2.import_key_pair,
            KeyName=names.key_pair,
            PublicKeyMaterial=public_half(file).encode(),
            TagSpecifications=[{"ResourceType": "key-pair", "Tags": site.tag_list}],
        )

    def hide() -> None:
        with disk_errors(file, "made private"):
            file.chmod(PRIVATE)

    parts = [Part("itself", is_registered, register), Part("private file", lambda: _is_private(file), hide)]
    return ensure(site, "key pair", names.key_pair, parts, detail=f"private key in {file}")


def make_private_key(file: Path) -> None:
    """Write a new ed25519 key, readable by its owner only; a file that is there is never written over.

    Raises:
        StoreError: the disk says no, or the file is there.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with disk_errors(file, "made"):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(opened, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())


def public_half(file: Path) -> str:
    """The public key of a private one, as OpenSSH writes it. Raises ConfigError, StoreError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    with disk_errors(file, "read"):
        content = file.read_bytes()
    openssh = content.startswith(b"-----BEGIN OPENSSH")
    load: Any = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(content, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{file} holds no private key that can be used: {' '.join(str(error).split())}.",
            instead="It takes an ed25519 or RSA key without a passphrase.",
            remedies=[("Use another file", "aws.key_file: ~/.ssh/another.pem   (in aws_config.yaml)")],
        ) from None
    half = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return str(half.decode())


def _core(public: str) -> list[str]:
    """Kind and number of a public key, without its comment."""
    return public.split()[:2]


def _is_private(file: Path) -> bool:
    with disk_errors(file, "read"):
        return not file.stat().st_mode & 0o077


def _without_file(names: Names, file: Path) -> InvalidRequest:
    return InvalidRequest(
        f"EC2 has the key pair {names.key_pair}, but its private half is not in {file}.",
        instead="It was made on another machine, or the file is gone; EC2 never had it.",
        remedies=[("Copy it here, if you have it", f"cp KEY {file}"), *_another(names)],
    )


def _another_key(names: Names, file: Path) -> InvalidRequest:
    return InvalidRequest(
        f"the key pair {names.key_pair} of EC2 is not the other half of {file}.",
        remedies=[("Use its file", "aws.key_file: ~/.ssh/that-one.pem   (in aws_config.yaml)"), *_another(names)],
    )


def _another(names: Names) -> list[tuple[str, str]]:
    where = f"--key-name {names.key_pair} --region {names.settings.region}"
    return [
        ("Or take another name", f"aws.key_name: {names.key_pair}-2   (in aws_config.yaml)"),
        ("Or let init import yours", f"aws ec2 delete-key-pair {where}"),
    ]

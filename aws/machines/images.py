"""Which machine image an instance starts from.

    resolve_image(sessions, "training")          # the newest deep-learning base image with an NVIDIA driver
    resolve_image(sessions, "serving", "ami-…")  # a pinned one

A pin, else AWS's public SSM parameters, else the newest image of the same owner and name. Ids differ by region and are
withdrawn after some time, so none is written down here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws.config import TRAINING
from aws.errors import CloudError, CredentialsError, ImageError
from aws.faults import aws_errors
from aws.sessions import Sessions

DEEP_LEARNING = "/aws/service/deeplearning/ami/x86_64"
# https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html; a base image has the driver and no frameworks
TRAINING_PARAMETERS = (
    f"{DEEP_LEARNING}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
    f"{DEEP_LEARNING}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
    f"{DEEP_LEARNING}/oss-nvidia-driver-gpu-pytorch-2.7-ubuntu-22.04/latest/ami-id",
)
# https://documentation.ubuntu.com/aws/en/latest/aws-how-to/instances/find-ubuntu-images
SERVING_PARAMETERS = ("/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",)
# Owner and name, where no parameter can be read
TRAINING_NAMES = (
    ("898082745236", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)*"),
    ("898082745236", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)*"),
)
SERVING_NAMES = (("099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"),)
# Whose name has this text logs in as that user; the first that fits
USERS = (
    ("ubuntu", "ubuntu"),
    ("debian", "admin"),
    ("amzn", "ec2-user"),
    ("amazon linux", "ec2-user"),
    ("al20", "ec2-user"),
)
DEFAULT_USER = "ec2-user"
ARCHITECTURE = "x86_64"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """A machine image and what is needed to use it.

    ``user`` logs in; ``minimum_gb`` is the size of its root disk; ``origin`` tells why it was chosen.
    """

    id: str
    name: str
    user: str
    root_device: str
    minimum_gb: int
    origin: str


def resolve_image(sessions: Sessions, purpose: str, pinned: str = "") -> Image:
    """The image for a purpose in the region of the settings.

    Args:
        pinned: an AMI id, taken as it is.

    Raises:
        ImageError: the pinned one cannot be used, or none was found.
        CredentialsError: nothing can be asked.
    """
    if pinned:
        return _describe(sessions, pinned, "pinned in the settings")
    training = purpose == TRAINING
    found = _from_parameters(sessions, TRAINING_PARAMETERS if training else SERVING_PARAMETERS)
    found = found or _from_names(sessions, TRAINING_NAMES if training else SERVING_NAMES)
    if found is None:
        raise ImageError(
            f"no image for {purpose} was found in {sessions.settings.region}.",
            instead="Neither a public SSM parameter nor an image of AWS or Canonical could be read.",
            remedies=[
                ("Pin one", f"STRANGER_AWS__{purpose.upper()}__IMAGE=ami-…"),
                ("See why", "run it again with --debug"),
            ],
        )
    return found


def login_user(name: str) -> str:
    """Who logs in to an image, by the name of the image."""
    lower = name.lower()
    return next((user for text, user in USERS if text in lower), DEFAULT_USER)


def _from_parameters(sessions: Sessions, parameters: tuple[str, ...]) -> Image | None:
    for parameter in parameters:
        try:
            with aws_errors(f"read {parameter}"):
                reply = sessions.client("ssm").get_parameter(Name=parameter)
            return _describe(sessions, reply["Parameter"]["Value"], f"newest by {parameter}")
        except CredentialsError:
            raise
        except CloudError as error:
            log.info("%s", error.what)
    return None


def _from_names(sessions: Sessions, names: tuple[tuple[str, str], ...]) -> Image | None:
    for owner, name in names:
        filters = {"name": name, "state": "available", "architecture": ARCHITECTURE}
        asked = [{"Name": key, "Values": [value]} for key, value in filters.items()]
        try:
            with aws_errors(f"list images named {name}"):
                images = sessions.client("ec2").describe_images(Owners=[owner], Filters=asked)["Images"]
        except CredentialsError:
            raise
        except CloudError as error:
            log.info("%s", error.what)
            continue
        if images:
            newest = max(images, key=lambda image: (image["CreationDate"], image["Name"]))
            return _image(newest, f"newest of {owner} named {name}")
    return None


def _describe(sessions: Sessions, number: str, origin: str) -> Image:
    with aws_errors(f"use the image {number}"):
        images = sessions.client("ec2").describe_images(ImageIds=[number])["Images"]
    if not images:  # so AWS answers for one that was withdrawn
        raise ImageError(
            f"there is no image {number} in {sessions.settings.region}.",
            remedies=[("Use the newest one", "leave aws.training.image and aws.serving.image empty")],
        )
    return _image(images[0], origin)


def _image(description: Mapping[str, Any], origin: str) -> Image:
    number = description["ImageId"]
    if description.get("Architecture", ARCHITECTURE) != ARCHITECTURE:
        raise ImageError(
            f"the image {number} is for {description['Architecture']}; the instance types here are {ARCHITECTURE}.",
            remedies=[("Use the newest one", "leave aws.training.image and aws.serving.image empty")],
        )
    root = description.get("RootDeviceName") or "/dev/sda1"
    disks = {each["DeviceName"]: each.get("Ebs", {}) for each in description.get("BlockDeviceMappings", [])}
    name = description.get("Name", "")
    return Image(number, name, login_user(name), root, int(disks.get(root, {}).get("VolumeSize", 8)), origin)

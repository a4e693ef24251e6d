"""An AWS account inside the test process: moto, and what moto leaves out.

    with Account() as account:
        account.fail("RunInstances", "InsufficientInstanceCapacity", times=2, status=500)
        account.lose_reply("RunInstances")
        … boto3 …
        account.calls_of("RunInstances")

What is added: public images with their SSM parameters, client tokens, spot requests, quotas, prices, and faults. Faults
act where requests leave botocore, so that its repeats are seen as they would be on the wire.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import moto.settings
from botocore.awsrequest import AWSResponse
from botocore.client import ClientCreator
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.loaders import create_loader
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.utils import method_names_from_class
from moto.ec2 import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instances import InstanceBackend, InstanceState
from moto.ec2.models.spot_requests import LaunchSpecification, SpotInstanceRequest, SpotRequestBackend
from moto.ec2.utils import random_spot_request_id
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.kms.utils import generate_private_key
from moto.ssm import ssm_backends
from moto.ssm.models import Parameter

ACCOUNT_NUMBER = DEFAULT_ACCOUNT_ID
HOME = "us-east-1"
AMAZON, CANONICAL = "898082745236", "099720109477"
MADE = datetime(2026, 11, 7, 12, tzinfo=UTC).replace(tzinfo=None)
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
# SSM parameter, image name, owner, root disk in GiB
IMAGES = (
    (
        "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261106",
        AMAZON,
        65,
    ),
    (
        "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20261106",
        AMAZON,
        65,
    ),
    (
        "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.7-ubuntu-22.04/latest/ami-id",
        "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.7 (Ubuntu 22.04) 20261106",
        AMAZON,
        75,
    ),
    (
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261022",
        CANONICAL,
        8,
    ),
)
QUOTAS = {"L-DB2E81BA": 8.0, "L-3819A6DF": 8.0, "L-1216C47A": 32.0, "L-34B43A08": 32.0}
USD_PER_HOUR = {"g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "t3.medium": 0.0416, "t3.large": 0.0832}
# How the price list differs from plain on-demand Linux, and the price as a factor of it.
DECOYS: tuple[tuple[dict[str, str], float], ...] = (
    ({"capacitystatus": "AllocatedCapacityReservation"}, 0.0),
    ({"tenancy": "Dedicated"}, 1.06),
    ({"operatingSystem": "Windows"}, 1.35),
    ({"preInstalledSw": "SQL Web"}, 1.3),
    ({}, 1.0),
)
SPOT_SHARE = 0.35  # of the on-demand price
QUERY_SERVICES, XML_SERVICES = ("iam", "sts"), ("s3",)


@dataclass(frozen=True)
class Call:
    """One request that left botocore. ``parameters`` are those of the wire: ``InstanceId.1``, or JSON's."""

    service: str
    operation: str
    region: str
    parameters: Mapping[str, Any]

    def text(self) -> str:
        return json.dumps(dict(self.parameters), default=str)


@dataclass
class Rule:
    """What happens to the calls that it meets, as often as ``times`` says after ``skip`` were let through."""

    operation: str
    act: str  # fail, lose-reply or cut
    code: str = ""
    status: int = 400
    message: str = ""
    times: int = 1
    skip: int = 0
    region: str = ""
    matching: tuple[str, ...] = ()  # texts that all occur in the parameters
    hits: int = 0

    def meets(self, call: Call, facts: str) -> bool:
        if call.operation != self.operation or self.region not in ("", call.region):
            return False
        if self.times <= 0 or not all(text in facts for text in self.matching):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        self.hits += 1
        return True


@dataclass
class Account:
    """The account; a context manager. ``home``: the region that has the public images."""

    home: str = HOME
    quotas: dict[str, float | None] = field(default_factory=lambda: dict(QUOTAS))  # None: may not be read
    prices: dict[str, float] = field(default_factory=lambda: dict(USD_PER_HOUR))
    calls: list[Call] = field(default_factory=list)
    _rules: list[Rule] = field(default_factory=list)
    _tokens: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)
    _undo: list[Callable[[], Any]] = field(default_factory=list)
    _hidden_looks: int = 0
    _hidden: dict[str, int] = field(default_factory=dict)  # instance to the looks for which it is not visible

    def __enter__(self) -> Account:
        # moto's own images, 1,300 with a disk each, take a quarter of a second per region.
        self._patch(mock.patch.object(AmiBackend, "_load_amis", lambda backend: None))
        aws = mock_aws()
        aws.start()
        self._undo.append(aws.stop)
        given = {"AWS_DEFAULT_REGION": self.home, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
        self._patch(mock.patch.dict(os.environ, given))
        self._patch(mock.patch("botocore.session.create_loader", _shared_loader))
        self._patch(mock.patch.object(ClientCreator, "_create_methods", _shared_methods))
        self._patch(mock.patch("moto.core.responses.method_names_from_class", _shared_names))
        self._patch(mock.patch("moto.kms.models.generate_private_key", _shared_key))
        self._patch(mock.patch.object(moto.settings, "ENABLE_AMI_VALIDATION", True))
        self._patch(mock.patch.object(moto.settings, "EC2_ENABLE_INSTANCE_TYPE_VALIDATION", True))
        self._patch(mock.patch.object(BotocoreStubber, "__call__", self._intercept(BotocoreStubber.__call__)))
        self._patch(mock.patch.object(InstanceBackend, "run_instances", _with_spot(InstanceBackend.run_instances)))
        self._patch(mock.patch.object(SpotRequestBackend, "cancel_spot_instance_requests", _cancel))
        permitted = _over_tls(IAMPolicyStatement.is_action_permitted)
        self._patch(mock.patch.object(IAMPolicyStatement, "is_action_permitted", permitted))
        self.add_images(self.home)
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            self._undo.pop()()

    # What a test arranges

    def fail(self, operation: str, code: str, *, times: int = 1, status: int = 400, **about: Any) -> Rule:
        """The next ``times`` calls of an operation get an error. ``about``: message, skip, region, matching."""
        return self._rule(operation, "fail", code=code, times=times, status=status, **about)

    def lose_reply(self, operation: str, *, times: int = 1, **about: Any) -> Rule:
        """The next calls work, and nobody hears of it."""
        return self._rule(operation, "lose-reply", times=times, **about)

    def cut(self, operation: str, *, times: int = 1, **about: Any) -> Rule:
        """The next calls do not get through."""
        return self._rule(operation, "cut", times=times, **about)

    def clear(self) -> None:
        """End all faults."""
        self._rules.clear()

    def hide_new_instances(self, looks: int) -> None:
        """New instances are unknown to the next ``looks`` calls that ask for them."""
        self._hidden_looks = looks

    def set_state(self, instance_id: str, state: str, *, reason: str = "", message: str = "", region: str = "") -> None:
        """Give an instance a state, and the reason that AWS would tell."""
        instance = self.instance(instance_id, region)
        instance._state = InstanceState(state, STATES[state])
        instance.state_reason.code, instance.state_reason.message = reason, message

    def instance(self, instance_id: str, region: str = "") -> Any:
        """moto's own object."""
        return ec2_backends[ACCOUNT_NUMBER][region or self.home].get_instance(instance_id)

    def instances(self, region: str = "") -> list[Any]:
        """moto's own objects, those that ended included."""
        return list(ec2_backends[ACCOUNT_NUMBER][region or self.home].all_instances())

    def subnets(self, region: str = "") -> dict[str, str]:
        """Zone to default subnet."""
        backend = ec2_backends[ACCOUNT_NUMBER][region or self.home]
        return {subnet.availability_zone: subnet.id for subnet in backend.get_default_subnets().values()}

    def image(self, text: str) -> str:
        """The id of the public image with this in its name."""
        return next(_image_id(self.home, name) for _, name, _, _ in IMAGES if text in name)

    def calls_of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    def add_images(self, region: str, *, parameters: bool = True) -> None:
        """The public images and, unless ``parameters`` is false, the SSM parameters that name them."""
        for path, name, owner, size_gb in IMAGES:
            number = _image_id(region, name)
            backend = ec2_backends[ACCOUNT_NUMBER][region]
            backend.amis[number] = PublicImage(backend, number, name, owner, size_gb)
            if parameters:
                ssm_backends[ACCOUNT_NUMBER][region]._parameters[path].append(_parameter(path, number))

    def forget_parameter(self, part: str, region: str = "") -> None:
        """Remove the public SSM parameters whose names hold ``part``."""
        known = ssm_backends[ACCOUNT_NUMBER][region or self.home]._parameters
        for path, *_ in IMAGES:
            if part in path:
                known.pop(path, None)

    # How it works

    def _patch(self, patcher: Any) -> None:
        patcher.start()
        self._undo.append(patcher.stop)

    def _rule(self, operation: str, act: str, **about: Any) -> Rule:
        rule = Rule(operation, act, **about)
        self._rules.append(rule)
        return rule

    def _intercept(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send(stubber: BotocoreStubber, event_name: str, request: Any, **more: Any) -> Any:
            if not stubber.enabled:
                return original(stubber, event_name, request, **more)
            call = _read(event_name, request)
            self.calls.append(call)
            return self._answer(call, request, lambda: original(stubber, event_name, request, **more))

        return send

    def _answer(self, call: Call, request: Any, forward: Callable[[], Any]) -> Any:
        rule = next((rule for rule in self._rules if rule.meets(call, self._facts(call))), None)
        if rule and rule.act == "fail":
            return _error(call, request.url, rule.code, rule.status, rule.message or f"{rule.code} by the test")
        if rule and rule.act == "cut":
            raise EndpointConnectionError(endpoint_url=request.url, error="cut by the test")
        reply = self._serve(call, request, forward)
        if rule and rule.act == "lose-reply":
            raise ReadTimeoutError(endpoint_url=request.url, error="lost by the test")
        return reply

    def _facts(self, call: Call) -> str:
        """What ``matching`` looks into: the parameters and the zones of the subnets in them."""
        text = call.text()
        if call.operation != "RunInstances":
            return text
        return text + "".join(zone for zone, subnet in self.subnets(call.region).items() if subnet in text)

    def _serve(self, call: Call, request: Any, forward: Callable[[], Any]) -> Any:
        if call.operation == "RunInstances" and call.parameters.get("DryRun") != "true":
            return self._launch(call, request.url, forward)
        visible = self._visible
        own = {
            "GetServiceQuota": self._quota, "GetProducts": self._products,
            "DescribeSpotPriceHistory": self._spot_history, "DescribeInstances": visible,
            "TerminateInstances": visible, "GetConsoleOutput": visible,
        }.get(call.operation)  # fmt: skip
        return (own(call, request.url) if own else None) or forward()

    def _launch(self, call: Call, url: str, forward: Callable[[], Any]) -> Any:
        """RunInstances with the client token honoured, as EC2 does."""
        token = call.parameters.get("ClientToken", "")
        asked = json.dumps({key: value for key, value in call.parameters.items() if key != "ClientToken"})
        if (call.region, token) in self._tokens:
            known, reply = self._tokens[call.region, token]
            if known != asked:
                return _error(call, url, "IdempotentParameterMismatch", 400, "Arguments are inconsistent.")
            if any(self.instance(each, call.region).state == "terminated" for each in _instance_ids(reply)):
                return _error(call, url, "IdempotentInstanceTerminated", 400, "The instance has been terminated.")
            return _copy(reply)
        reply = forward()
        if reply.status_code == 200:
            self._hidden |= dict.fromkeys(_instance_ids(reply), self._hidden_looks)
            self._tokens[call.region, token] = (asked, _copy(reply))
        return reply

    def _visible(self, call: Call, url: str) -> Any:
        """An error, or nothing found, while the instance asked for is hidden."""
        hidden = [each for each, looks in self._hidden.items() if looks > 0]
        if not hidden:
            return None
        self._hidden |= {each: self._hidden[each] - 1 for each in hidden}
        named = [str(value) for key, value in call.parameters.items() if key.startswith("InstanceId")]
        for each in hidden:
            if each in named:
                return _error(call, url, "InvalidInstanceID.NotFound", 400, f"The instance ID '{each}' does not exist")
        if named:
            return None
        return _reply(url, 200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")

    def _quota(self, call: Call, url: str) -> Any:
        code = call.parameters["QuotaCode"]
        if code not in self.quotas:
            return _error(call, url, "NoSuchResourceException", 400, "no such quota")
        if self.quotas[code] is None:
            return _error(call, url, "AccessDeniedException", 400, "not authorized")
        return _reply(url, 200, json.dumps({"Quota": {"QuotaCode": code, "Value": self.quotas[code]}}))

    def _products(self, call: Call, url: str) -> Any:
        wanted = {each["Field"]: each["Value"] for each in call.parameters.get("Filters", [])}
        offers = [_offer(name, usd, *decoy) for name, usd in self.prices.items() for decoy in DECOYS]
        found = [offer for offer in offers if wanted.items() <= offer["product"]["attributes"].items()]
        return _reply(url, 200, json.dumps({"PriceList": [json.dumps(offer) for offer in found]}))

    def _spot_history(self, call: Call, url: str) -> Any:
        kind, zone = call.parameters.get("InstanceType.1", ""), call.parameters.get("AvailabilityZone")
        zones = [each for each in self.subnets(call.region) if zone in (None, each)] if kind in self.prices else []
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{self.prices[kind] * SPOT_SHARE + 0.001 * place:.6f}</spotPrice>"
            f"<availabilityZone>{each}</availabilityZone><timestamp>2026-11-2{day}T00:00:00.000Z</timestamp></item>"
            for place, each in enumerate(zones)
            for day in (1,)
        )
        body = f"<spotPriceHistorySet>{items}</spotPriceHistorySet>"
        return _reply(url, 200, f"<DescribeSpotPriceHistoryResponse>{body}</DescribeSpotPriceHistoryResponse>")


class PublicImage(Ami):
    """An image of Amazon's or Canonical's with a root disk of its own size."""

    def __init__(self, backend: Any, number: str, name: str, owner: str, size_gb: int) -> None:
        super().__init__(
            backend, number, name=name, description=name, owner_id=owner, public=True, virtualization_type="hvm",
            architecture="x86_64", hypervisor="xen", root_device_type="ebs", root_device_name="/dev/sda1",
            image_location=f"{owner}/{name}", creation_date=MADE, region_name=f"{backend.region_name}a",
        )  # fmt: skip
        self.size_gb = size_gb

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        disk = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.size_gb, "DeleteOnTermination": True}
        return [{"DeviceName": self.root_device_name, "Ebs": {**disk, "VolumeType": "gp3", "Encrypted": False}}]


class RequestBehind(SpotInstanceRequest):
    """The request behind a spot instance that RunInstances launched; closed once the instance has ended."""

    def __init__(self, backend: Any, instance: Any, tags: Mapping[str, str]) -> None:
        self.ec2_backend, self.instance, self.id = backend, instance, random_spot_request_id()
        self.price, self.type, self.instance_interruption_behaviour = "0.526000", "one-time", "terminate"
        self.valid_from = self.valid_until = self.launch_group = None
        self.launch_specification = LaunchSpecification(
            kernel_id=None, ramdisk_id=None, image_id=instance.image_id, key_name=instance.key_name,
            instance_type=instance.instance_type, placement=instance.placement.zone, monitored=False,
            subnet_id=instance.subnet_id,
        )  # fmt: skip
        self.cancelled, self._status_code, self.status_message = False, "fulfilled", ""
        self.add_tags(dict(tags))

    @property
    def state(self) -> str:  # type: ignore[override]
        ended = self.instance.state in ("shutting-down", "terminated")
        return "cancelled" if self.cancelled else "closed" if ended else "active"


@functools.cache
def _shared_loader(data_path: str | None = None) -> Any:
    """The descriptions of AWS's services, read once for all tests: they take a third of a second."""
    return create_loader(data_path)


def _shared_methods(creator: ClientCreator, model: Any) -> dict[str, Any]:
    """The methods of a client, made once for each service: they are a third of the work of a new client."""
    key = (model.service_name, model.api_version, len(model.operation_names))
    if key not in _known_methods:
        _known_methods[key] = _make_methods(creator, model)
    return dict(_known_methods[key])


_make_methods: Callable[..., dict[str, Any]] = ClientCreator._create_methods
_known_methods: dict[tuple[str, str, int], dict[str, Any]] = {}
_shared_names = functools.cache(method_names_from_class)  # moto asks for them with each request


@functools.cache
def _shared_key(key_spec: str) -> Any:
    """An encrypted disk makes moto generate a key, a tenth of a second each time."""
    return generate_private_key(key_spec)


def _with_spot(original: Callable[..., Any]) -> Callable[..., Any]:
    def run_instances(backend: Any, *positional: Any, **named: Any) -> Any:
        tags = named.get("tags", {})
        reservation = original(backend, *positional, **named)
        for instance in reservation.instances:
            if not instance.security_groups:  # those of the network interface
                instance.security_groups = list(instance.nics[0].group_set)
            for interface in instance.nics.values():
                interface.add_tags(tags.get("network-interface", {}))
            if named.get("instance_market_options"):
                request = RequestBehind(backend, instance, tags.get("spot-instances-request", {}))
                backend.spot_instance_requests[request.id] = request
                instance.spot_instance_request_id = request.id
        return reservation

    return run_instances


def _cancel(backend: Any, request_ids: list[str]) -> list[Any]:
    found = [backend.spot_instance_requests[each] for each in request_ids]
    for request in found:
        request.cancelled = True
    return found


def _over_tls(original: Callable[..., Any]) -> Callable[..., Any]:
    """Bucket policies: every request here is encrypted; moto takes a condition on that for one that is met."""

    def is_action_permitted(statement: IAMPolicyStatement, *positional: Any, **named: Any) -> Any:
        condition = statement._statement.get("Condition", {})
        if condition.get("Bool", {}).get("aws:SecureTransport") == "false":
            return PermissionResult.NEUTRAL
        return original(statement, *positional, **named)

    return is_action_permitted


def _image_id(region: str, name: str) -> str:
    return "ami-" + hashlib.sha256(f"{region} {name}".encode()).hexdigest()[:17]


def _parameter(path: str, value: str) -> Parameter:
    return Parameter(
        account_id=ACCOUNT_NUMBER, name=path, value=value, parameter_type="String", description=None,
        allowed_pattern=None, keyid=None, last_modified_date=MADE, version=1, data_type="aws:ec2:image",
    )  # fmt: skip


def _offer(instance_type: str, usd: float, changes: Mapping[str, str], factor: float) -> dict[str, Any]:
    about = {
        "instanceType": instance_type, "regionCode": HOME, "location": "US East (N. Virginia)",
        "locationType": "AWS Region", "servicecode": "AmazonEC2", "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used", "licenseModel": "No License required",
        "marketoption": "OnDemand", "operation": "RunInstances",
    }  # fmt: skip
    price = {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd * factor:.10f}"}}
    terms = {"OnDemand": {"SKU.JRTCKXETXF": {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": price}}}}
    return {"product": {"productFamily": "Compute Instance", "attributes": about | changes}, "terms": terms}


def _read(event_name: str, request: Any) -> Call:
    _, service, operation = event_name.split(".", 2)
    host = urlsplit(request.url).hostname or ""
    found = re.search(r"[a-z]{2}(-[a-z]+)+-\d", host)
    body = request.body.decode(errors="replace") if isinstance(request.body, bytes) else request.body or ""
    parameters: dict[str, Any] = {}
    if isinstance(body, str) and service != "s3":
        parameters = json.loads(body) if body.startswith("{") else dict(parse_qsl(body, keep_blank_values=True))
    return Call(service, operation, found[0] if found else HOME, parameters)


def _reply(url: str, status: int, body: str, **headers: str) -> AWSResponse:
    return AWSResponse(url, status, headers, MockRawResponse(body))


def _copy(reply: Any) -> AWSResponse:
    return AWSResponse(reply.url, reply.status_code, dict(reply.headers), MockRawResponse(reply.content))


def _instance_ids(reply: Any) -> list[str]:
    return re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", reply.text)


def _error(call: Call, url: str, code: str, status: int, message: str) -> AWSResponse:
    text = message.replace("&", "&amp;").replace("<", "&lt;")
    inner = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    if call.service == "ec2":
        return _reply(url, status, f"<Response><Errors>{inner}</Errors><RequestID>1</RequestID></Response>")
    if call.service in QUERY_SERVICES:
        return _reply(url, status, f"<ErrorResponse>{inner}<RequestId>1</RequestId></ErrorResponse>")
    if call.service in XML_SERVICES:
        return _reply(url, status, inner)
    return _reply(url, status, json.dumps({"__type": code, "message": message}), **{"x-amzn-ErrorType": code})

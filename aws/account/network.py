"""Who may connect: a security group for each purpose, open to this machine's address or to what the settings say.

A rule that the set-up adds is described as ``stranger: user@host``, so that it can be replaced when the address of
that machine has changed; rules of other machines and of other people are left alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws.account.steps import COMPLETED, THERE, WOULD_MAKE, Part, Site, Step, ask, ensure
from aws.config import SERVING, TRAINING, Names, actor
from aws.errors import CloudError, NotFound
from config import AwsSettings, ConfigError

if TYPE_CHECKING:
    from aws.sessions import Sessions

ADDRESS_SERVICE = "https://checkip.amazonaws.com"
ADDRESS_TIMEOUT_SECONDS = 10.0
LONGEST_DESCRIPTION = 255
NO_GROUP = ("InvalidGroup.NotFound", "InvalidGroupId.NotFound")
ALREADY_THERE, GONE = "InvalidPermission.Duplicate", "InvalidPermission.NotFound"


@dataclass(frozen=True)
class Rule:
    """Who may connect to a port. ``block``: addresses in CIDR form."""

    port: int
    block: str
    description: str = ""

    @property
    def is_single(self) -> bool:
        return ipaddress.ip_network(self.block).num_addresses == 1


def caller_address(fetch: Callable[[], str] | None = None) -> str:
    """The public IPv4 address of this machine, as AWS sees it. Raises CloudError: nobody can tell.

    Args:
        fetch: what asks for it; default: AWS's own service, https://checkip.amazonaws.com
    """
    try:
        answer = (fetch or _fetch_address)().strip()
        return str(ipaddress.IPv4Address(answer))
    except (OSError, ValueError) as error:
        raise CloudError(
            f"nobody can tell the public address of this machine: {' '.join(str(error).split())[:200]}.",
            remedies=[("Say who may connect", "aws.open_to: [203.0.113.7/32]   (in aws_config.yaml)")],
        ) from error


def blocks(open_to: Sequence[str]) -> tuple[str, ...]:
    """Addresses and blocks in CIDR form, each once. Raises ConfigError: one of them is neither."""
    found = []
    for each in open_to:
        try:
            found.append(str(ipaddress.ip_network(each.strip(), strict=False)))
        except ValueError:
            raise ConfigError(
                f"aws.open_to holds '{each}', which is no block of addresses.",
                instead="One looks like 203.0.113.7/32 or 203.0.113.0/24.",
            ) from None
    return tuple(dict.fromkeys(found))


def addresses_to_open(settings: AwsSettings, address: Callable[[], str] = caller_address) -> tuple[str, ...]:
    """Who may connect: what the settings say, or else this machine. Raises ConfigError, CloudError."""
    return blocks(settings.open_to or (address(),))


def find_vpc(site: Site) -> str:
    """The id of the VPC: that of the settings or the default one. Raises NotFound."""
    vpc, ec2, region = site.names.settings.vpc, site.client("ec2"), site.names.settings.region
    if vpc:
        ask(f"find the VPC {vpc} of aws.vpc in {region}", ec2.describe_vpcs, VpcIds=[vpc])
        return vpc
    default = [{"Name": "is-default", "Values": ["true"]}]
    found = ask(f"find the default VPC of {region}", ec2.describe_vpcs, Filters=default)["Vpcs"]
    if not found:
        raise NotFound(
            f"{region} has no default VPC.",
            remedies=[
                ("Name one", "aws.vpc: vpc-0123456789abcdef0   (in aws_config.yaml)"),
                ("Or make the default", f"aws ec2 create-default-vpc --region {region}"),
            ],
        )
    return str(found[0]["VpcId"])


def find_security_group(sessions: Sessions, names: Names, purpose: str) -> str:
    """The id of the group of a purpose. Raises NotFound: there is none; CloudError."""
    site = Site(sessions, names)
    group = _find(site, names.security_group(purpose), find_vpc(site))
    if group is None:
        raise NotFound(
            f"there is no security group {names.security_group(purpose)} in {names.settings.region}.",
            remedies=[("Make it", "python deploy_aws.py init")],
        )
    return str(group["GroupId"])


def ports_of(names: Names, purpose: str) -> tuple[int, ...]:
    """What a machine of the purpose listens on: SSH, and where it serves the page."""
    ssh = names.settings.ssh_port
    return {TRAINING: (ssh,), SERVING: (ssh, names.settings.serving.port)}[purpose]


def ensure_security_group(site: Site, purpose: str, open_to: Sequence[str], *, configured: bool) -> Step:
    """The group of a purpose, its ports open to these blocks.

    Args:
        open_to: addresses and blocks.
        configured: somebody chose them: they replace all that was opened from here. Otherwise they are this machine's
            own address: it replaces its former one, and a wider block that was once asked for stays and is named.

    Raises:
        NotFound: there is no VPC; ConfigError: a block is none; CloudError.
    """
    vpc, name = find_vpc(site), site.names.security_group(purpose)
    ec2 = site.client("ec2")

    def make() -> None:
        ask(
            f"make the security group {name}",
            ec2.create_security_group,
            "InvalidGroup.Duplicate",
            GroupName=name,
            Description=f"{site.names.settings.project}: {purpose}",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": site.tag_list}],
        )

    step = ensure(site, "security group", name, [Part("itself", lambda: bool(_find(site, name, vpc)), make)])
    group = _find(site, name, vpc)
    changes = _compare(group, ports_of(site.names, purpose), blocks(open_to), _by("set-up"), configured)
    if not site.dry_run:
        _carry_out(site, group, changes)
    if step.action != THERE or not (changes.missing or changes.stale):
        return Step(step.what, step.name, step.action, str(changes))
    return Step(step.what, step.name, WOULD_MAKE if site.dry_run else COMPLETED, str(changes))


def open_ports(sessions: Sessions, names: Names, purpose: str, ports: Sequence[int], open_to: Sequence[str]) -> None:
    """Open ports of a purpose's group to these blocks, and close what the same call has opened on them before.

    It leaves alone what the set-up opens, and the set-up what this opens. Raises NotFound, ConfigError, CloudError.
    """
    site = Site(sessions, names)
    find_security_group(sessions, names, purpose)  # or a sentence that it is missing
    group = _find(site, names.security_group(purpose), find_vpc(site))
    _carry_out(site, group, _compare(group, ports, blocks(open_to), _by("deploy"), configured=True))


@dataclass(frozen=True)
class _Changes:
    """What a group lacks, what is to be closed, and what is open wider than asked for now."""

    missing: Sequence[Rule]
    stale: Sequence[Rule]
    wide: Sequence[str]

    def __str__(self) -> str:
        parts = [f"opens {_words(self.missing)}"] * bool(self.missing)
        parts += [f"closes {_words(self.stale)}"] * bool(self.stale)
        parts += [f"also open to {', '.join(self.wide)}, as once asked for"] * bool(self.wide)
        return "; ".join(parts)


def _compare(group: Any, ports: Sequence[int], open_to: Sequence[str], by: str, configured: bool) -> _Changes:
    present = _rules(group) if group else []
    open_now = {(rule.port, rule.block) for rule in present}
    wanted = [Rule(port, block, by) for port in ports for block in open_to]
    targets = {(rule.port, rule.block) for rule in wanted}
    ours = [rule for rule in present if rule.description == by and rule.port in ports]
    others = [rule for rule in ours if (rule.port, rule.block) not in targets]
    return _Changes(
        missing=[rule for rule in wanted if (rule.port, rule.block) not in open_now],
        stale=[rule for rule in others if configured or rule.is_single],
        wide=[] if configured else sorted({rule.block for rule in others if not rule.is_single}),
    )


def _carry_out(site: Site, group: Any, changes: _Changes) -> None:
    """Opened before closed: who is connected stays so."""
    _change(site, "open", group, changes.missing, ALREADY_THERE)
    _change(site, "close", group, changes.stale, GONE)


def _change(site: Site, verb: str, group: Any, rules: Sequence[Rule], harmless: str) -> None:
    """Each rule by a call of its own: one that is there already would refuse them all."""
    ec2 = site.client("ec2")
    call = ec2.authorize_security_group_ingress if verb == "open" else ec2.revoke_security_group_ingress
    for rule in rules:
        doing = f"{verb} port {rule.port} of {group['GroupName']} to {rule.block}"
        ask(doing, call, harmless, GroupId=group["GroupId"], IpPermissions=[_permission(rule)])


def _permission(rule: Rule) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": rule.port, "ToPort": rule.port}
    note = {"Description": rule.description}
    if ":" in rule.block:
        return permission | {"Ipv6Ranges": [{"CidrIpv6": rule.block} | note]}
    return permission | {"IpRanges": [{"CidrIp": rule.block} | note]}


def _find(site: Site, name: str, vpc: str) -> Any:
    filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    describe = site.client("ec2").describe_security_groups
    found = ask(f"look for the security group {name}", describe, *NO_GROUP, Filters=filters)
    return next(iter(found["SecurityGroups"]), None) if found else None


def _rules(group: Any) -> list[Rule]:
    found = []
    for permission in group["IpPermissions"]:
        port = permission.get("FromPort", -1)
        if permission.get("IpProtocol") != "tcp" or port != permission.get("ToPort", -1):
            continue  # a range, or not TCP: not of ours
        ranges = [(each["CidrIp"], each) for each in permission.get("IpRanges", [])]
        ranges += [(each["CidrIpv6"], each) for each in permission.get("Ipv6Ranges", [])]
        found += [Rule(port, block, each.get("Description", "")) for block, each in ranges]
    return found


def _words(rules: Sequence[Rule]) -> str:
    return ", ".join(f"{rule.port} to {rule.block}" for rule in rules)


def _by(what: str) -> str:
    """How a rule is described, in the signs that EC2 takes for it."""
    text = f"stranger: {actor()}" if what == "set-up" else f"stranger {what}: {actor()}"
    return re.sub(r"[^A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]", "-", text)[:LONGEST_DESCRIPTION]


def _fetch_address() -> str:
    from urllib.request import urlopen

    with urlopen(ADDRESS_SERVICE, timeout=ADDRESS_TIMEOUT_SECONDS) as answer:
        return str(answer.read(100).decode("ascii", "replace"))

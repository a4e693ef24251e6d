"""The roles: of the instances, by purpose, of the reaper and of its schedules. None of them is for people."""

from __future__ import annotations

import json

from aws.account import policies
from aws.account.policies import Policy
from aws.account.steps import Part, Seen, Site, Step, ask, ensure
from aws.config import SERVING, TRAINING

INLINE_POLICY = "stranger"  # the name of the one policy that each role has
ABSENT = ("NoSuchEntity", "NoSuchEntityException")
TAKEN = ("EntityAlreadyExists", "EntityAlreadyExistsException")  # by somebody who types the same at the same time
INSTANCE_POLICIES = {TRAINING: policies.training_policy, SERVING: policies.serving_policy}


def ensure_instance_role(site: Site, purpose: str) -> Step:
    """The role of the instances of a purpose. Raises CloudError."""
    trust = policies.service_trust(site.names, "ec2")
    return _ensure_role(site, site.names.instance_role(purpose), trust, INSTANCE_POLICIES[purpose](site.names))


def ensure_reaper_role(site: Site) -> Step:
    """Raises CloudError."""
    trust = policies.service_trust(site.names, "lambda")
    return _ensure_role(site, site.names.reaper, trust, policies.reaper_policy(site.names))


def ensure_scheduler_role(site: Site) -> Step:
    """Raises CloudError."""
    trust = policies.scheduler_trust(site.names)
    return _ensure_role(site, site.names.scheduler_role, trust, policies.scheduler_policy(site.names))


def ensure_instance_profile(site: Site, purpose: str) -> Step:
    """What an instance is launched with: a case around the role. Raises CloudError."""
    name, iam = site.names.instance_role(purpose), site.client("iam")
    which = {"InstanceProfileName": name}

    found = Seen(lambda: ask(f"look at the instance profile {name}", iam.get_instance_profile, *ABSENT, **which))

    def roles() -> list[str]:
        return [role["RoleName"] for role in found()["InstanceProfile"]["Roles"]]

    def make() -> None:
        ask(f"make the instance profile {name}", iam.create_instance_profile, *TAKEN, **which, Tags=site.tag_list)
        found.forget()

    def put_role() -> None:
        for role in roles():  # there is room for one
            ask(f"empty the instance profile {name}", iam.remove_role_from_instance_profile, **which, RoleName=role)
        ask(f"put the role into {name}", iam.add_role_to_instance_profile, **which, RoleName=name)

    parts = [Part("itself", lambda: found() is not None, make), Part("its role", lambda: roles() == [name], put_role)]
    return ensure(site, "instance profile", name, parts)


def _ensure_role(site: Site, role: str, trust: Policy, rights: Policy) -> Step:
    iam, which, inline = site.client("iam"), {"RoleName": role}, {"RoleName": role, "PolicyName": INLINE_POLICY}
    found = Seen(lambda: ask(f"look at the role {role}", iam.get_role, *ABSENT, **which))

    def make() -> None:
        options = {"AssumeRolePolicyDocument": json.dumps(trust), "Tags": site.tag_list}
        ask(f"make the role {role}", iam.create_role, *TAKEN, **which, **options)
        found.forget()

    def is_trusted() -> bool:
        return bool(found()["Role"]["AssumeRolePolicyDocument"] == trust)

    def has_rights() -> bool:
        policy = ask(f"look at the rights of {role}", iam.get_role_policy, *ABSENT, **inline)
        return bool(policy and policy["PolicyDocument"] == rights)

    def put_trust() -> None:
        document = json.dumps(trust)
        ask(f"say who may take the role {role}", iam.update_assume_role_policy, **which, PolicyDocument=document)

    def put_rights() -> None:
        ask(f"give the role {role} its rights", iam.put_role_policy, **inline, PolicyDocument=json.dumps(rights))

    parts = [
        Part("itself", lambda: found() is not None, make),
        Part("trust", is_trusted, put_trust),
        Part("rights", has_rights, put_rights),
    ]
    return ensure(site, "role", role, parts)

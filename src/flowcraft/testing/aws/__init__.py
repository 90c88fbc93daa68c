"""Fakes of the AWS services that the adapter uses, at the level of their requests.

- :class:`FakeDynamoDb` is DynamoDB, with its limits and its habits.
"""

from flowcraft.testing.aws.dynamodb import FakeDynamoDb

__all__ = ["FakeDynamoDb"]

"""What can go wrong with a table, a queue or a bucket, said so that somebody can do something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from flowcraft.adapters.aws.transport import (
    CONNECTION_FAILED,
    Answer,
    AwsError,
    Request,
    Transport,
)
from flowcraft.errors import StorageBusy, StorageError, StorageFull, StorageUnavailable

# What a transport says when nothing could be sent; see ``client.py``.
_NO_CREDENTIALS: Final = "NoCredentials"
_MISCONFIGURED: Final = "ClientMisconfigured"


@dataclass(frozen=True, slots=True)
class Resource:
    """A table, a queue or a bucket, as errors speak of it.

    Attributes:
        kind: What it is.
        name: The name of the table or of the bucket, or the URL of the queue.
        key: The partition key that the table has to have, a text.
    """

    kind: Literal["table", "queue", "bucket"]
    name: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    @property
    def service(self) -> str:
        """The service, as permissions name it."""
        return {"table": "dynamodb", "queue": "sqs", "bucket": "s3"}[self.kind]


class Service:
    """A transport for requests about one table or queue, with the errors of this package.

    A condition that does not hold is no trouble but an answer: it stays the ``AwsError`` it is.
    Nothing is tried again here: boto3 does so, and whoever uses a port.

    Args:
        transport: Carries the requests out.
        resource: What they are about.
    """

    def __init__(self, transport: Transport, resource: Resource) -> None:
        self.resource = resource
        self._transport = transport

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``.

        Raises:
            AwsError: A condition of the request does not hold; nothing was written.
            StorageError: Anything else went wrong.
        """
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            if is_refused_condition(error):
                raise
            raise translated(error, self.resource) from error


def is_refused_condition(error: AwsError) -> bool:
    """Whether nothing was written because a condition did not hold, alone or in a transaction."""
    if error.code != "TransactionCanceledException":
        return error.is_refused_condition
    return _reasons(error) == {"ConditionalCheckFailed"}


def is_denied(error: StorageError) -> bool:
    """Whether whoever asked has no permission: that a viewer may not write is no trouble."""
    cause = error.__cause__
    return isinstance(cause, AwsError) and _EXPLANATIONS.get(cause.code) is _no_access


def translated(error: AwsError, resource: Resource) -> StorageError:
    """The error to raise for one of AWS: what is wrong with which resource, and what helps.

    Args:
        error: What AWS, or the way there, says.
        resource: What the request was about.
    """
    explain = _EXPLANATIONS.get(error.code)
    if explain is not None:
        return explain(error, resource)
    if error.is_throttling:
        return _throttled(error, resource)
    if error.may_pass:
        return StorageError(
            f"The {resource} cannot be reached: AWS has trouble with {error.operation} "
            f"({error.code}, status {error.status}: {error.message}). Whether it was carried out "
            "is not known; try again."
        )
    return StorageError(
        f"The {resource} refused {error.operation}: {error.code}: {error.message}", is_fatal=True
    )


def _reasons(error: AwsError) -> set[str]:
    """Why a transaction was given up."""
    reasons = error.answer.get("CancellationReasons", ())
    return {reason.get("Code", "None") for reason in reasons} - {"None"}


def _throttled(error: AwsError, resource: Resource) -> StorageError:
    return StorageBusy(
        f"The {resource} has more requests than it takes: {error.operation} was put off "
        f"({error.code}). Nothing was changed; try again, and raise its capacity if this goes on."
    )


def _too_many_in_flight(_: AwsError, resource: Resource) -> StorageError:
    return StorageBusy(
        f"The {resource} has as many messages in flight as SQS allows (120,000 received and not "
        "deleted). Receive again when workers have deleted some."
    )


def _busy(error: AwsError, resource: Resource) -> StorageError:
    return StorageBusy(
        f"The {resource} is being changed by others: {error.operation} gave way ({error.code}). "
        "Nothing was changed; try again."
    )


def _transaction(error: AwsError, resource: Resource) -> StorageError:
    reasons = _reasons(error)
    if reasons & {"TransactionConflict", "ConditionalCheckFailed"}:
        return _busy(error, resource)
    if reasons & {"ThrottlingError", "ProvisionedThroughputExceeded"}:
        return _throttled(error, resource)
    return StorageError(
        f"The {resource} refused {error.operation}: {', '.join(sorted(reasons))}: {error.message}",
        is_fatal=True,
    )


def _no_answer(error: AwsError, resource: Resource) -> StorageError:
    return StorageError(
        f"The {resource} cannot be reached: {error.operation} had no answer ({error.message}). "
        "Whether it was carried out is not known; look at network and endpoint, and try again."
    )


def _no_access(error: AwsError, resource: Resource) -> StorageError:
    action = f"{resource.service}:{_permission(error.operation)}"
    if resource.kind == "bucket":
        return StorageUnavailable(
            f"The {resource} may not be used: access for {error.operation} is denied. Allow "
            f"{action} on what is in it, and s3:ListBucket on itself (without that S3 says the "
            f"same of what is missing), for the credentials of the client ({error.message})."
        )
    return StorageUnavailable(
        f"The {resource} may not be used: access to {action} is denied. Allow {action} on it for "
        f"the credentials of the client ({error.message})."
    )


def _permission(operation: str) -> str:
    """The permission that a request needs: that of SQS's batches has the name of the single."""
    sqs = {"SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"}
    if operation in sqs:
        return operation.removesuffix("Batch")
    return _S3_PERMISSIONS.get(operation, operation)


_S3_PERMISSIONS: Final = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "HeadBucket": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}


def _bad_credentials(error: AwsError, resource: Resource) -> StorageError:
    return StorageUnavailable(
        f"The {resource} cannot be used: AWS does not take the credentials of the client "
        f"({error.code}: {error.message}). Renew them, and see that the machine's clock is right."
    )


def _no_client(error: AwsError, resource: Resource) -> StorageError:
    return StorageUnavailable(
        f"The {resource} cannot be used, since nothing can be sent there: {error.message}."
    )


_APPLY: Final = "'flowcraft aws apply' does, 'flowcraft aws plan' shows what is missing"


def _missing(error: AwsError, resource: Resource) -> StorageError:
    where = "Look at its name, and at the client's region, account and endpoint_url"
    if resource.kind == "queue":
        return StorageUnavailable(
            f"There is no {resource}. {where}, or create it as a standard queue: {_APPLY}."
        )
    if resource.kind == "bucket":
        return StorageUnavailable(
            f"There is no {resource} ({error.code}). {where}, or create it; payload_bucket says "
            "which one is used."
        )
    key = f" with the partition key '{resource.key}' (a string)" if resource.key else ""
    return StorageUnavailable(
        f"There is no {resource}, or it is not ready yet ({error.operation}). {where}, or create "
        f"it{key} and without a sort key: {_APPLY}."
    )


def _elsewhere(error: AwsError, resource: Resource) -> StorageError:
    return StorageUnavailable(
        f"The {resource} is in another region than the client ({error.code}: {error.message}). "
        "Make the client with the region_name of the bucket."
    )


def _damaged_on_the_way(error: AwsError, resource: Resource) -> StorageError:
    return StorageError(
        f"What {error.operation} brought to the {resource} was damaged on its way "
        f"({error.code}: {error.message}). Nothing was changed; try again."
    )


def _encrypted(error: AwsError, resource: Resource) -> StorageError:
    return StorageUnavailable(
        f"The {resource} is encrypted with a key that cannot be used ({error.code}: "
        f"{error.message}). Allow the credentials of the client to use it, or enable it."
    )


def _too_many_items(_: AwsError, resource: Resource) -> StorageError:
    return StorageFull(
        f"The {resource} has reached a limit of its size for one key. Nothing was changed."
    )


def _invalid(error: AwsError, resource: Resource) -> StorageError:
    text = error.message.lower()
    if "size" in text and "exceed" in text:
        return StorageFull(
            f"What {error.operation} was to store is too large for the {resource}: an item may "
            f"have 400 KB ({error.message}). Nothing was changed.",
            is_fatal=True,
        )
    if "key" in text and any(sign in text for sign in _WRONG_KEY):
        return StorageUnavailable(
            f"The {resource} has another key than is needed ({error.message}). Give the name of "
            f"a table whose partition key is '{resource.key}' (a string), without a sort key."
        )
    return StorageError(
        f"The {resource} refused {error.operation}: {error.code}: {error.message}", is_fatal=True
    )


# As DynamoDB words it, of a key that is called otherwise, has another type or is not alone.
_WRONG_KEY: Final = (
    "does not match the schema",
    "missing the key",
    "type mismatch for key",
    "was not given a value",
    "number of conditions on the keys is invalid",
)

_EXPLANATIONS: Final[dict[str, Callable[[AwsError, Resource], StorageError]]] = {
    CONNECTION_FAILED: _no_answer,
    _NO_CREDENTIALS: _no_client,
    _MISCONFIGURED: _no_client,
    "OverLimit": _too_many_in_flight,
    "TransactionCanceledException": _transaction,
    "TransactionConflictException": _busy,
    "TransactionInProgressException": _busy,
    "ReplicatedWriteConflictException": _busy,
    "ResourceInUseException": _busy,
    "ItemCollectionSizeLimitExceededException": _too_many_items,
    "ResourceNotFoundException": _missing,
    "NonExistentQueue": _missing,
    "NoSuchBucket": _missing,
    "InvalidBucketName": _missing,
    "PermanentRedirect": _elsewhere,
    "AuthorizationHeaderMalformed": _elsewhere,
    "IllegalLocationConstraintException": _elsewhere,
    "ConditionalRequestConflict": _busy,
    "OperationAborted": _busy,
    "RequestTimeout": _no_answer,
    "BadDigest": _damaged_on_the_way,
    "XAmzContentSHA256Mismatch": _damaged_on_the_way,
    "IncompleteBody": _damaged_on_the_way,
    "QueueDoesNotExist": _missing,
    "InvalidAddress": _missing,
    "ValidationException": _invalid,
    "AccessDenied": _no_access,
    "AccessDeniedException": _no_access,
    "UnauthorizedOperation": _no_access,
    "InvalidSecurity": _bad_credentials,
    "ExpiredToken": _bad_credentials,
    "ExpiredTokenException": _bad_credentials,
    "IncompleteSignature": _bad_credentials,
    "IncompleteSignatureException": _bad_credentials,
    "InvalidClientTokenId": _bad_credentials,
    "InvalidSignatureException": _bad_credentials,
    "MissingAuthenticationTokenException": _bad_credentials,
    "RequestExpired": _bad_credentials,
    "SignatureDoesNotMatch": _bad_credentials,
    "UnrecognizedClientException": _bad_credentials,
    "InvalidAccessKeyId": _bad_credentials,
    "InvalidToken": _bad_credentials,
    "TokenRefreshRequired": _bad_credentials,
    "RequestTimeTooSkewed": _bad_credentials,
    "KmsAccessDenied": _encrypted,
    "KmsDisabled": _encrypted,
    "KmsInvalidKeyUsage": _encrypted,
    "KmsInvalidState": _encrypted,
    "KmsNotFound": _encrypted,
    "KmsOptInRequired": _encrypted,
    "KmsThrottled": _throttled,
}

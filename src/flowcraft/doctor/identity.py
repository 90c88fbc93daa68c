"""Who asks, and where: credentials and region."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from flowcraft.adapters.aws.transport import CONNECTION_FAILED, AwsError
from flowcraft.doctor.findings import Finding, error, note, ok
from flowcraft.doctor.services import BESIDE_SECONDS, DENIED, NOT_THERE, Services
from flowcraft.doctor.texts import short

CREDENTIALS: Final = "credentials"

_REFUSED: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as AWS sees it.

    Attributes:
        finding: What to tell of it.
        arn: The principal; empty if nobody knows.
        may_ask: Whether anything else is worth asking.
    """

    finding: Finding
    arn: str = ""
    may_ask: bool = True


async def identify(services: Services, region: str) -> Identity:
    """Ask who we are: no permission is needed for that.

    Args:
        services: Whom to ask.
        region: Where, for the finding.
    """
    try:
        async with asyncio.timeout(BESIDE_SECONDS):
            answer = await services.call("sts", "GetCallerIdentity", {})
    except AwsError as refusal:
        return _unknown(refusal, region)
    except TimeoutError:
        silence = f"it has not answered for {BESIDE_SECONDS:g} s"
        return _unknown(AwsError(CONNECTION_FAILED, silence, status=0), region)
    arn = str(answer.get("Arn", ""))
    account = str(answer.get("Account", "?"))
    return Identity(ok(CREDENTIALS, f"AWS knows you as {arn}, account {account}.", region), arn)


def _unknown(refusal: AwsError, region: str) -> Identity:
    if refusal.code in ("NoCredentials", "ClientMisconfigured"):
        cure = refusal.message.partition(". ")[2] or refusal.message
        text = f"{refusal.message.partition('. ')[0].rstrip('.')}."
        return Identity(error(CREDENTIALS, text, region, f"{cure}."), may_ask=False)
    if refusal.code in _REFUSED:
        return Identity(
            error(
                CREDENTIALS,
                f"AWS does not take the credentials ({refusal.code}: {short(refusal.message)}).",
                region,
                "Renew them, and see that the machine's clock is right.",
            ),
            may_ask=False,
        )
    if refusal.code == CONNECTION_FAILED:
        text = f"STS cannot be reached, so who you are is not known ({short(refusal.message)})."
        cure = "Look at network, endpoint and proxy; a private network needs an endpoint for STS."
    elif refusal.code in DENIED | NOT_THERE or refusal.status in (404, 501):
        text = f"Who you are could not be asked for ({refusal.code}): the other checks tell more."
        cure = "Allow sts:GetCallerIdentity, or leave it: only the permissions are told by it."
    else:
        text = f"Who you are could not be asked for ({refusal.code}: {short(refusal.message)})."
        cure = "Try again."
    return Identity(note(CREDENTIALS, text, region, cure))

"""An S3 client that waits for a server that is away; its errors are a sentence each: what happened, what to do now."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from linnet.errors import LinnetError, first_line, redact_credentials
from linnet.patience import FIRST_WAIT_SECONDS, patience_seconds, wait_out

MAX_CONCURRENCY = 8  # requests at once
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 60, 3
OUTAGES = frozenset({429, 500, 502, 503, 504})  # HTTP statuses of a server that may answer again
BUSY = frozenset({"RequestTimeout", "SlowDown", "Throttling"})
ENDPOINT = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (on a cluster: the secret they come from)"


class StorageError(LinnetError):
    """Something in S3 cannot be reached, read or written, or is not what it should be."""

    may_pass = True


@contextlib.contextmanager
def new_client(
    url: str,
    *,
    attempts: int = ATTEMPTS,
    read_seconds: int = READ_SECONDS,
    longest_wait_seconds: float = float("inf"),
) -> Iterator[Any]:
    """An S3 client for the block; what goes wrong in it is raised as a StorageError about `url`.

    Args:
        attempts: boto3's own, quick ones, within each try of a request.
        longest_wait_seconds: for a server that is away, if LINNET_PATIENCE says more.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError, S3ValidationError

    endpoint = "S3"
    try:
        with contextlib.closing(_new_client(attempts, read_seconds)) as client:
            endpoint = redact_credentials(client.meta.endpoint_url)
            _make_requests_wait(client, endpoint, min(longest_wait_seconds, patience_seconds()))
            yield client
    except RetriesExceededError as error:
        raise StorageError(f"{url}: {_cause(error.last_exception, endpoint)}") from None
    except (S3DownloadFailedError, S3ValidationError):
        raise StorageError(f"{url}: an object was replaced while it was read; repeat the command") from None
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"{url}: {_cause(error, endpoint)}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageError(
            f"{url}: the local disk is full; free some space and repeat, nothing half was kept"
        ) from None


def _new_client(attempts: int, read_seconds: int) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=2 * MAX_CONCURRENCY,
    )
    try:
        return Session().client("s3", config=config)
    except ValueError as error:  # an endpoint without http://, a region with spaces
        raise StorageError(f"S3 is set up wrongly: {first_line(error)}; correct {ENDPOINT}, or AWS_...") from None


def _make_requests_wait(client: Any, endpoint: str, seconds: float) -> None:
    """Let each request, the unit of a transfer too, wait for a server that is away."""
    send = client._make_api_call

    def send_and_wait(operation: str, parameters: dict[str, Any]) -> Any:
        body = parameters.get("Body")
        start = body.tell() if body is not None and hasattr(body, "seek") else None

        def attempt() -> Any:
            if body is not None and start is not None and body.tell() != start:  # an earlier try has read of it
                body.seek(start)
            return send(operation, parameters)

        return wait_out(
            attempt,
            outage=lambda error: _outage(error, endpoint),
            seconds=seconds,
            first_wait_seconds=FIRST_WAIT_SECONDS,
        )

    client._make_api_call = send_and_wait


def _outage(error: Exception, endpoint: str) -> str | None:
    """What does not answer, for people, if that is what `error` says."""
    from botocore import exceptions as boto

    match error:
        case boto.SSLError():
            return None
        case boto.ConnectionError() | boto.HTTPClientError():
            return f"no connection to {endpoint}"
        case boto.ClientError():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response["Error"]["Code"]
            return f"{endpoint} answers {code}" if status in OUTAGES or code in BUSY else None
        case _:
            return None


def _cause(error: Exception, endpoint: str) -> str:
    """What happened and what to do now, as the rest of a sentence."""
    from botocore import exceptions as boto

    match error:
        case boto.ClientError():
            return _refusal(error.response["Error"]["Code"], error.operation_name, endpoint)
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return f"there are no whole credentials for S3; set {CREDENTIALS}"
        case boto.ConnectTimeoutError() | boto.ReadTimeoutError() | TimeoutError():
            return f"{endpoint} does not answer in time; try again, or check the network and the address ({ENDPOINT})"
        case boto.SSLError():
            return f"no safe connection to {endpoint}; name its certificate in AWS_CA_BUNDLE, or check {ENDPOINT}"
        case boto.ConnectionError() | boto.HTTPClientError() | OSError():
            return f"no connection to {endpoint}; is it running, and is the address right ({ENDPOINT})?"
        case _:
            return f"{first_line(error)}; check the AWS_... settings"


def _refusal(code: str, operation: str, endpoint: str) -> str:
    match code:
        case "NoSuchBucket":
            what, advice = "has no such bucket", f"make it, or correct the address or the endpoint ({ENDPOINT})"
        case "NoSuchKey" | "404":
            what, advice = "has no such object", "correct the address, or run the stage that uploads it first"
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken":
            what, advice = f"refuses the credentials ({code})", f"correct {CREDENTIALS}"
        case "AccessDenied" | "403":
            what, advice = f"denies access ({operation})", f"ask for the right to it, or give other {CREDENTIALS}"
        case "PermanentRedirect" | "AuthorizationHeaderMalformed" | "301":
            what, advice = f"wants another region ({code})", "set AWS_DEFAULT_REGION to the bucket's"
        case "RequestTimeTooSkewed":
            what, advice = f"refuses this machine's clock ({code})", "set it"
        case _:
            what, advice = f"answers {code} to {operation}", "try again later, or ask those who run it"
    return f"{endpoint} {what}; {advice}"

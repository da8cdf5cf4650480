"""What one client may ask of the server, and how a request is refused."""

from collections.abc import Sequence

from pydantic import Field

from mersa.config import Settings, apply_assignments, check_names, validated

MEGABYTE = 2**20
"""What `_mb` counts."""


class Limits(Settings):
    """Bounds of requests, of what waits, and of time; whatever exceeds one is refused."""

    upload_mb: float = Field(64.0, gt=0, le=4096, description="of the body of one request")
    held_mb: float = Field(2048.0, gt=0, description="of the bodies of all requests together")
    recording_s: float = Field(600.0, gt=0, description="of one recording, as decoded")
    files: int = Field(32, ge=1, le=1000, description="recordings of one request")
    fields: int = Field(64, ge=1, le=1000, description="other fields of one request")
    text_chars: int = Field(10_000, ge=1, le=100_000, description="of one field")
    overlap: float = Field(10.0, ge=1, description="windows that lie over each moment")
    requests: int = Field(256, ge=1, description="that are read, wait or are judged at a time")
    waiting_s: float = Field(3600.0, gt=0, description="of recordings that wait to be judged")
    head_kb: int = Field(16, ge=1, le=1024, description="of the line and headers of a request")
    head_s: float = Field(10.0, gt=0, description="for the line and headers of a request to come")
    upload_s: float = Field(60.0, gt=0, description="for the body of a request to come")
    answer_s: float = Field(120.0, gt=0, description="from the end of an upload to its answer")
    stop_s: float = Field(60.0, gt=0, description="that running requests have after SIGTERM")
    batch_s: float = Field(
        30.0, ge=0, description="of recordings that are scored together; 0: each by itself"
    )
    batch_files: int = Field(16, ge=1, le=256, description="recordings that are scored together")


class Refused(Exception):  # noqa: N818  refusing is no error of the server
    """A request that is not answered, and why.

    Args:
        status: Of HTTP.
        message: One sentence for the client.
        retry: Whether the same request may be answered later.
    """

    def __init__(self, status: int, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry


def make_limits(assignments: Sequence[str] = ()) -> Limits:
    """Make limits from texts as `upload_mb=16`.

    Raises:
        ConfigError: If a limit does not exist or cannot take its value.
    """
    given = apply_assignments({}, assignments, kind=Limits)
    check_names(Limits, given)
    return validated(Limits, given)
